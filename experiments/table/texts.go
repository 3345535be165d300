package table

import (
	"fmt"
	"io"
	"strings"
	"unicode/utf8"

	"bilevel/experiments"
)

// markdown writes rows, differences, failures and warnings as tables of GitHub's Markdown.
func (r *Result) markdown(w io.Writer) error {
	b := &strings.Builder{}
	fmt.Fprintf(b, "# %s\n", r.heading())
	if about := r.Table.Recipe.About; len(about) > 0 {
		fmt.Fprintf(b, "\n%s\n", strings.Join(about, " "))
	}
	for _, note := range r.warnings() {
		fmt.Fprintf(b, "\n**%s**\n", note)
	}
	escape := strings.NewReplacer("|", `\|`, "\n", " ")
	for _, t := range append(r.shown(false), r.failures(), r.cautions()) {
		if len(t.Rows) == 0 {
			continue
		}
		rule := make([]string, len(t.Columns))
		for i := range rule {
			rule[i] = "---"
		}
		escaped := experiments.Table{Columns: t.Columns, Rows: [][]string{rule}}
		for _, row := range t.Rows {
			line := make([]string, len(row))
			for i, text := range row {
				line[i] = escape.Replace(text)
			}
			escaped.Rows = append(escaped.Rows, line)
		}
		fmt.Fprintf(b, "\n%s:\n\n%s", t.Name, aligned(escaped, " | ", "|"))
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// aligned is a table with columns of equal width. edge, where it is not empty, stands at both ends of each line.
func aligned(t experiments.Table, between, edge string) string {
	width := make([]int, len(t.Columns))
	lines := append([][]string{t.Columns}, t.Rows...)
	for _, line := range lines {
		for i, text := range line {
			width[i] = max(width[i], utf8.RuneCountInString(text))
		}
	}
	b := &strings.Builder{}
	for _, line := range lines {
		var cells []string
		for i, text := range line {
			cells = append(cells, text+strings.Repeat(" ", width[i]-utf8.RuneCountInString(text)))
		}
		text := strings.Join(cells, between)
		if edge != "" {
			text = edge + " " + text + " " + edge
		}
		b.WriteString(strings.TrimRight(text, " ") + "\n")
	}
	return b.String()
}

// texEscape makes a text one that LaTeX sets as it is.
var texEscape = strings.NewReplacer(
	`\`, `\textbackslash{}`, "&", `\&`, "%", `\%`, "$", `\$`, "#", `\#`, "_", `\_`, "{", `\{`, "}", `\}`,
	"~", `\textasciitilde{}`, "^", `\textasciicircum{}`, "±", `$\pm$`, "−", "$-$", "–", "--",
)

// latex writes rows and differences as tabulars, which need no package.
func (r *Result) latex(w io.Writer) error {
	b := &strings.Builder{}
	fmt.Fprintf(b, "%% %s\n", strings.ReplaceAll(r.heading(), "\n", " "))
	for _, note := range r.warnings() {
		fmt.Fprintf(b, "%% %s\n", strings.ReplaceAll(note, "\n", " "))
	}
	for _, t := range r.shown(false) {
		if len(t.Rows) == 0 {
			continue
		}
		fmt.Fprintf(b, "\n%% %s\n\\begin{tabular}{%s}\n\\hline\n", t.Name, strings.Repeat("l", len(t.Columns)))
		for i, line := range append([][]string{t.Columns}, t.Rows...) {
			cells := make([]string, len(line))
			for j, text := range line {
				cells[j] = texEscape.Replace(text)
			}
			fmt.Fprintf(b, "%s \\\\\n", strings.Join(cells, " & "))
			if i == 0 {
				b.WriteString("\\hline\n")
			}
		}
		b.WriteString("\\hline\n\\end{tabular}\n")
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// plural is "1 cell is" or "3 cells are".
func plural(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}
