package attack

import (
	"fmt"
	"math"
	"strconv"
	"strings"

	"bilevel/internal/nearest"
)

// Standard is the standard version of AutoAttack (Croce, Hein, ICML 2020, section 5): APGD on the cross-entropy,
// targeted APGD on the difference of logits ratio, targeted FAB, each with 100 steps and one start, and Square with
// 5,000 queries.
func Standard() []Attack {
	return []Attack{APGD{Restarts: 1}, APGD{Loss: "dlr-targeted", Restarts: 1}, FAB{Restarts: 1}, Square{}}
}

// Parse gives the attacks of a name: fgsm, pgd-50-10 (50 steps, 10 restarts), apgd-ce, apgd-dlr, apgd-t, fab-t, square
// or square-1000 (1000 queries), and autoattack for all of Standard.
func Parse(name string) ([]Attack, error) {
	word, rest, _ := strings.Cut(name, "-")
	if word == "pgd" || word == "square" && rest != "" {
		var numbers []int
		for _, text := range strings.Split(rest, "-") {
			v, err := strconv.Atoi(text)
			if err != nil || v < 1 {
				break
			}
			numbers = append(numbers, v)
		}
		switch {
		case word == "pgd" && len(numbers) == 2:
			return []Attack{PGD{Steps: numbers[0], Restarts: numbers[1]}}, nil
		case word == "square" && len(numbers) == 1:
			return []Attack{Square{Queries: numbers[0]}}, nil
		}
		return nil, fmt.Errorf("attack %q: wants pgd-STEPS-RESTARTS, such as pgd-50-10, or square-QUERIES", name)
	}
	rows := []struct {
		name string
		of   []Attack
	}{
		{"autoattack", Standard()}, {"fgsm", []Attack{FGSM{}}}, {"apgd-ce", []Attack{APGD{Restarts: 1}}},
		{"apgd-dlr", []Attack{APGD{Loss: "dlr", Restarts: 1}}},
		{"apgd-t", []Attack{APGD{Loss: "dlr-targeted", Restarts: 1}}}, {"fab-t", []Attack{FAB{Restarts: 1}}},
		{"square", []Attack{Square{}}},
	}
	names := []string{"pgd-50-10"}
	for _, r := range rows {
		if r.name == name {
			return r.of, nil
		}
		names = append(names, r.name)
	}
	return nil, fmt.Errorf("unknown attack %q (there are %s)%s", name, strings.Join(names, ", "),
		nearest.Hint(name, names))
}

// ParseRadius reads a radius: 0.1, or 8/255.
func ParseRadius(text string) (float64, error) {
	above, below, fraction := strings.Cut(text, "/")
	a, err := strconv.ParseFloat(above, 64)
	b := 1.0
	if err == nil && fraction {
		b, err = strconv.ParseFloat(below, 64)
	}
	if eps := a / b; err == nil && !math.IsNaN(eps) && !math.IsInf(eps, 0) {
		return eps, nil
	}
	return 0, fmt.Errorf("eps %q: wants a number such as 0.1 or 8/255", text)
}
