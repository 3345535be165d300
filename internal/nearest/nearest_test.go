package nearest

import "testing"

func TestDistance(t *testing.T) {
	for _, c := range []struct {
		a, b string
		want int
	}{
		{"", "", 0}, {"", "abc", 3}, {"abc", "", 3}, {"abc", "abc", 0},
		{"kitten", "sitting", 3}, // the textbook example: two substitutions, one insertion
		{"flaw", "lawn", 2},
		{"cpu", "pcu", 1}, // one swap
		{"ca", "abc", 3},  // restricted: without the rule "no byte twice" this would be 2
		{"cuda", "cuad", 1},
	} {
		if got := distance(c.a, c.b); got != c.want {
			t.Errorf("distance(%q, %q) = %d, want %d", c.a, c.b, got, c.want)
		}
		if got := distance(c.b, c.a); got != c.want {
			t.Errorf("distance(%q, %q) = %d, want %d: not symmetric", c.b, c.a, got, c.want)
		}
	}
}

func TestName(t *testing.T) {
	names := []string{"auto", "cpu", "ref", "cuda", "cuda-sim"}
	for _, c := range []struct{ got, want string }{
		{"cup", "cpu"}, {"gpu", "cpu"}, {"cudasim", "cuda-sim"}, {"rfe", "ref"}, {"cuda", "cuda"},
		{"tpu", "cpu"}, {"opencl", ""}, {"", ""}, {"cda", "cuda"},
	} {
		if got := Name(c.got, names); got != c.want {
			t.Errorf("Name(%q) = %q, want %q", c.got, got, c.want)
		}
	}
	if got := Name("x", nil); got != "" {
		t.Errorf("Name of no names = %q", got)
	}
	if got := Name("ab", []string{"ax", "xb"}); got != "ax" {
		t.Errorf("a tie gives %q, want the first", got)
	}
}

func TestHint(t *testing.T) {
	names := []string{"soba", "cosine"}
	for got, want := range map[string]string{"sobo": `; did you mean "soba"?`, "adam": ""} {
		if hint := Hint(got, names); hint != want {
			t.Errorf("Hint(%q) = %q, want %q", got, hint, want)
		}
	}
}
