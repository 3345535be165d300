package syntax

import "testing"

// FuzzParse holds two properties: an error is an *Error with a place inside the text (Parse turns panics into errors of
// another type), and what Parse takes reads back the same after printing.
func FuzzParse(f *testing.F) {
	for _, text := range real(f) {
		if len(text) < 10_000 { // the fuzzer is slow on long ones
			f.Add(text)
		}
	}
	f.Add(header + ".global .v2 .f32 x[][2] = {{{1.0}, {2.0, 0f3F800000}}}; .global .u64 y[2] = {generic(x)+4, 0};")
	f.Add(header + ".func (.reg .b32 r) f(.param .align 8 .b8 q[8]) .noreturn { L: { .reg .b32 t<3>; @!p bra L; call " +
		"(r), f, (1); } }")
	f.Add(header + ".entry k { p: .callprototype _ (.param .b32 _); t: .branchtargets p, t; .loc 1 2 3, " +
		"function_name s+1, inlined_at 1 2 3 a b|_, -c, [1], [t+-1, {q}], (1+2*~3>>4) ; }")
	f.Fuzz(func(t *testing.T, text string) {
		m, err := Parse("f", text)
		if err != nil {
			e, ok := err.(*Error)
			if !ok {
				t.Fatal(err)
			}
			if e.Line < 1 || e.Column < 1 || e.Column > len(text)+1 {
				t.Fatalf("%v is outside of a text of %d bytes", e, len(text))
			}
			return
		}
		if len(text) > 10_000 {
			return
		}
		printed := print(m)
		again, err := Parse("printed", printed)
		if err != nil {
			t.Fatalf("%v in\n%s", err, printed)
		}
		if a, b := printed, print(again); a != b {
			t.Fatalf("printed\n%s\nand again\n%s", a, b)
		}
	})
}
