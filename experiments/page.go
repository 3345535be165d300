package experiments

import (
	"bytes"
	_ "embed"
	"encoding/base64"
	"fmt"
	"html/template"
	"io"
	"os"
	"path/filepath"
	"strings"

	"bilevel/internal/atomicfile"
)

// Page is what a report says beside its records.
type Page struct {
	Title   string // of the page and of its plots
	Version string // of the program
	Config  string // the effective configuration, as text
}

//go:embed page.html
var pageText string

// mostNamed is how many classes the page names.
const mostNamed = 100

// tableRows is how many rows of a long table the page shows; the file has all.
const tableRows = 25

// View is what a page shows, part by part; parts that are empty are left out.
type View struct {
	Page
	Before   []string    // sentences before the results
	Rows     [][2]string // a name and a value each
	After    []string    // and after them
	Warnings []string    // sentences
	Figures  []Figure
	Pictures []Picture
	Tables   []List
	Words    []string // on the hypergradient
}

// Figure is a plot as SVG.
type Figure struct {
	Name string
	SVG  template.HTML
}

// Picture is images in one, as a URL that holds them.
type Picture struct {
	Name, Note string
	PNG        template.URL
}

// List is a table with a heading and a note below it.
type List struct {
	Name, Note string
	Columns    []string
	Rows       [][]string
}

// Write writes the page: one file that asks for nothing else.
func (v View) Write(path string) error {
	t, err := template.New("report").Parse(pageText)
	if err != nil {
		return err
	}
	return atomicfile.Write(path, func(w io.Writer) error { return t.Execute(w, v) })
}

// writePage writes report.html, with the plots and pictures that have been put into dir.
func writePage(dir string, p Page, report Report, records []*Record, cells int) error {
	view := View{Page: p, Before: texts(report.Before, records), After: texts(report.After, records)}
	for _, row := range report.Rows {
		if text, ok := row.text(records); ok {
			view.Rows = append(view.Rows, [2]string{row.title(records[0]), text})
		}
	}
	if names := records[0].Lists[ClassMapping]; len(names) > 0 {
		text := "in order: " + strings.Join(names[:min(mostNamed, len(names))], ", ")
		if len(names) > mostNamed {
			text += ", …"
		}
		view.Rows = append(view.Rows, [2]string{"classes", text})
	}
	for _, r := range records {
		for _, w := range r.Warnings {
			view.Warnings = append(view.Warnings, fmt.Sprintf("Seed %d: %s", r.Seed, w))
		}
		if r.Certificate != nil {
			view.Words = append(view.Words, fmt.Sprintf("Seed %d: %s.", r.Seed, r.Certificate))
		}
	}
	files := []string{}
	for _, plot := range report.Plots {
		files = append(files, plot.File)
	}
	if report.Histogram.File != "" {
		files = append(files, report.Histogram.File)
	}
	for _, h := range records[0].Heats {
		files = append(files, h.Name+suffixOf(records[0], cells))
	}
	for _, name := range files {
		figure, ok, err := ReadFigure(dir, name)
		if err != nil {
			return err
		}
		if ok { // a plot without a line is not drawn
			view.Figures = append(view.Figures, figure)
		}
	}
	for _, g := range records[0].Images {
		name := g.Name + suffixOf(records[0], cells) + ".png"
		b, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			return err
		}
		note := fmt.Sprintf("%d images of seed %d, %s.", len(g.Captions), records[0].Seed, name)
		source := template.URL("data:image/png;base64," + base64.StdEncoding.EncodeToString(b))
		view.Pictures = append(view.Pictures, Picture{g.Name, note, source})
	}
	for _, table := range records[0].Tables {
		l := List{Name: table.Name, Columns: table.Columns, Rows: table.Rows[:min(tableRows, len(table.Rows))]}
		if len(table.Rows) > tableRows {
			l.Note = fmt.Sprintf("The first %d of %d rows of seed %d. %s.csv has all.", tableRows, len(table.Rows),
				records[0].Seed, table.Name)
		}
		view.Tables = append(view.Tables, l)
	}
	return view.Write(filepath.Join(dir, "report.html"))
}

// scalable is a plot's SVG without its XML declaration, and with a width that the page decides. Plots are drawn by this
// program, with every text in them escaped, so that they are taken as they are.
func scalable(svg []byte) template.HTML {
	if i := bytes.Index(svg, []byte("<svg")); i >= 0 {
		svg = svg[i:]
	}
	head, rest, _ := strings.Cut(string(svg), ">")
	var kept []string
	for _, field := range strings.Fields(head) {
		if !strings.HasPrefix(field, "width=") && !strings.HasPrefix(field, "height=") {
			kept = append(kept, field)
		}
	}
	return template.HTML(strings.Join(kept, " ") + ">" + rest)
}
