// Package audit asks what the implicit term of the hypergradient does, C v with H v = ∇yF, in every application: each
// part runs methods without the term, as they are published, and with the exact term, at equal budgets over the same
// seeds. A part is a recipe of package table, whose first method has the term off; the page is made of results alone.
package audit

import (
	"embed"
	"fmt"
	"path"
	"slices"
	"strings"

	"bilevel/experiments"
	"bilevel/experiments/table"
	"bilevel/internal/nearest"
)

//go:embed recipes
var recipes embed.FS

// Part is an application or a problem, with its name as a folder.
type Part struct {
	Name   string
	Recipe *table.Recipe
}

// Parts are those on problems whose answers are known and those of applications, which have small networks on the
// digits where quick, and larger ones on sets that have to be there else.
func Parts(quick bool) ([]Part, error) {
	size := "full"
	if quick {
		size = "quick"
	}
	var list []Part
	for _, dir := range []string{"both", size} {
		entries, err := recipes.ReadDir(path.Join("recipes", dir))
		if err != nil {
			return nil, err
		}
		for _, e := range entries {
			text, err := recipes.ReadFile(path.Join("recipes", dir, e.Name()))
			if err != nil {
				return nil, err
			}
			r, err := table.Parse(text)
			if err != nil {
				return nil, fmt.Errorf("%s/%s: %w", dir, e.Name(), err)
			}
			list = append(list, Part{strings.TrimSuffix(e.Name(), ".yaml"), r})
		}
	}
	return list, nil
}

// Names lists the names of parts.
func Names(parts []Part) (names []string) {
	for _, p := range parts {
		names = append(names, p.Name)
	}
	return names
}

// Chosen are the parts of the names given, in the order of all of them; all of them where none is given.
func Chosen(parts []Part, names []string) (list []Part, err error) {
	if len(names) == 0 {
		return parts, nil
	}
	all := Names(parts)
	for _, name := range names {
		if !slices.Contains(all, name) {
			return nil, experiments.Usagef("the audit has no part %q (there are %s)%s", name, strings.Join(all, ", "),
				nearest.Hint(name, all))
		}
	}
	for _, p := range parts {
		if slices.Contains(names, p.Name) {
			list = append(list, p)
		}
	}
	return list, nil
}
