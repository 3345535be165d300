package syntax

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// Every error names the text, line and column, and what was expected there.
func TestErrors(t *testing.T) {
	for text, want := range map[string]string{
		"":                               `t.ptx:1:1: PTX begins with .version, not with the end of the text`,
		"\n __global__ x":                `t.ptx:2:2: PTX begins with .version, not with "__global__"`,
		"\x7fELF":                        `t.ptx:1:1: byte 0x7f does not belong into PTX`,
		".version x":                     `t.ptx:1:10: expected a version such as 8.2, found "x"`,
		".version 8.2\n.address_size 64": `t.ptx:2:1: expected .target after .version, found ".address_size"`,
		".version 8.2 /* ":               `t.ptx:1:14: this comment is not closed by */`,
	} {
		_, err := Parse("t.ptx", text)
		require.EqualError(t, err, want, text)
	}
	for text, want := range map[string]string{
		".version 8.2":                    `4:1: a second .version: this is more than one module`,
		".target":                         `4:8: expected a target such as sm_80, found the end of the text`,
		".address_size 16":                `4:15: .address_size should be 32 or 64`,
		"ret;":                            `4:1: expected a directive such as .entry or .global, found "ret"`,
		".visible ret;":                   `4:10: expected a directive such as .entry or .global, found "ret"`,
		".visible .foo":                   `4:10: expected a directive such as .entry or .global, found ".foo"`,
		".reg .b32 x;":                    `4:1: .reg: registers belong into functions`,
		". reg":                           `4:1: expected a word right after the dot`,
		".file 1 k.cu":                    `4:9: expected the name of a file in quotes, found "k"`,
		".file 1 \"k.cu\n\"":              `4:9: this string is not closed on its line`,
		".section .x {":                   `4:13: this { is not closed`,
		".section .debug_str { .b8 300 }": ``, // bytes of debug information are cut, not judged
		".global .u32 x":                  `4:15: expected ; after the declaration, found the end of the text`,
		".global .u33 x;":                 `4:9: ".u33" is no type`,
		".global x;":                      `4:9: expected a type such as .b32, found "x"`,
		".global .u32 .f32 x;":            `4:14: expected a name after .u32, found ".f32"`,
		".global .pred x;":                `4:15: predicates are registers`,
		".global .align 3 .u32 x;":        `4:16: an alignment should be a power of two up to 65536`,
		".global .u32 x[-1];":             `4:16: a length should be a whole number from 0 to 4294967296`,
		".global .u32 x[2][];":            `4:18: only the first dimension may be empty`,
		".global .u32 x[2147483648];":     `4:15: the variable is larger than 4294967296 bytes`,
		".global .u8 x[65536][65536][2];": `4:28: the variable is larger than 4294967296 bytes`,
		".global .u8 x = 1, x;":           `4:20: x is defined twice`,
		".global .u8 x[2] = 1;":           `4:20: expected { with the values of an array, found "1"`,
		".global .u8 x = {1};":            `4:17: expected a number, found "{"`,
		".global .u8 x[2] = {1 2};":       `4:23: expected , or } after a value, found "2"`,
		".global .u8 x[2] = {1, 2, 3};":   `4:27: more than 2 values`,
		".global .u8 x[2] = {1, };":       `4:24: expected a number, found "}"`,
		".global .u8 x[2] = {0xff(y)};":   `4:21: single bytes of addresses, mask(symbol), are not supported`,
		".global .f32 x = 3;": `4:18: expected a float such as 0f3F800000 or 1.0 for a variable of type ` +
			`.f32, found "3"`,
		".global .u32 x = 1.5;": `4:18: expected a whole number for a variable of type ` +
			`.u32, found "1.5"`,
		".global .f16 x = 1.5;": `4:16: variables of type .f16 have no initial value`,
		".shared .u32 x = 1;":   `4:16: only .global and .const variables have initial values`,
		".global .u8 x[2][70000]={{},{}};": `4:25: rows left short by more than 65536 values in all are ` +
			`not supported`,
		".global .u64 x = generic(y;":           `4:27: expected ) after the name, found ";"`,
		".entry 3":                              `4:8: expected the name of a function, found "3"`,
		".entry k(.u32 x)":                      `4:10: expected .param, found ".u32"`,
		".entry k(.param .u32 x":                `4:23: expected , or ) after a parameter, found the end of the text`,
		".entry k(.param .u32 x,.param .u32 x)": `4:36: x is declared twice`,
		".entry k .maxntid 0 {}": `4:19: a number of threads should be a whole number from 1 ` +
			`to 2147483647`,
		".entry k .reqnctapercluster {}": `4:29: expected a number, found "{"`,
		".entry k .foo {}":               `4:10: expected { with the body of k, found ".foo"`,
		".entry k {} .entry k {}":        `4:20: k is defined twice`,
		".extern .func f {}":             `4:17: expected ; after an external function, found "{"`,
		".entry k {":                     `4:10: this { is not closed`,
		".entry k { { ret; }":            `4:10: this { is not closed`,
		".entry k { ; }":                 `4:12: expected a statement, found ";"`,
		".entry k { ret }":               `4:16: expected an operand, found "}"`,
		".entry k { ret 1 }":             `4:18: expected , or ; after an operand of ret, found "}"`,
		".entry k { .foo }": `4:12: expected a statement or a declaration such as .reg, ` +
			`found ".foo"`,
		".entry k { @3 ret; }":               `4:13: expected a name, found "3"`,
		".entry k { @p ret; }":               `4:13: the guard p is no register declared before`,
		".entry k { @%p 3; }":                `4:16: expected an instruction, found "3"`,
		".entry k { L: L: }":                 `4:15: L is declared twice`,
		".entry k { .reg .b32 a; a: }":       `4:25: a is declared twice`,
		".entry k { .reg .b32 a<3>, a1; }":   `4:28: a1 is declared twice`,
		".entry k { .reg .b32 a<3>, a<4>; }": `4:28: a is declared twice`,
		".entry k { .reg .b32 a<0>; }": `4:24: the number of registers should be a whole number from ` +
			`1 to 1048576`,
		".entry k { .reg .b32 a<9999999>; }": `4:24: the number of registers should be a whole number from ` +
			`1 to 1048576`,
		".entry k { .reg .b32 a[4]; }": `4:22: registers form no arrays: write a<4>`,
		".entry k { mov a, }":          `4:19: expected an operand, found "}"`,
		".entry k { mov [a; }":         `4:18: expected ] after an address, found ";"`,
		".entry k { mov [a+b]; }":      `4:19: expected a number, found "b"`,
		".entry k { mov [1.5]; }":      `4:17: expected an address, found "1.5"`,
		".entry k { mov [a+1.5]; }":    `4:18: an offset should be a whole number`,
		".entry k { mov {a, b; }":      `4:21: expected , or } in a vector, found ";"`,
		".entry k { mov s[2]; }": `4:17: elements without brackets are not supported: write ` +
			`[s+n], n in bytes`,
		".entry k { mov 0f12; }":                `4:16: "0f12" should have 8 hexadecimal digits after 0f`,
		".entry k { mov 0d3F800000; }":          `4:16: "0d3F800000" should have 16 hexadecimal digits after 0d`,
		".entry k { mov 089; }":                 `4:16: "089" is no whole number of 64 bits`,
		".entry k { mov 1_0; }":                 `4:16: "1_0" is no whole number of 64 bits`,
		".entry k { mov 12a; }":                 `4:16: "12a" is no whole number of 64 bits`,
		".entry k { mov 1.5x; }":                `4:16: "1.5x" is no number of double precision`,
		".entry k { mov 99999999999999999999;}": `4:16: "99999999999999999999" is no whole number of 64 bits`,
		".entry k { mov 1/0; }":                 `4:17: division by zero`,
		".entry k { mov ~1.5; }":                `4:16: ~ wants a whole number`,
		".entry k { mov 1.5+1; }":               `4:19: + joins whole numbers only`,
		".entry k { mov 'a'; }":                 `4:16: expected an operand, found "'"`,
		".entry k { .loc 1 2; }":                `4:20: expected a column, found ";"`,
		".entry k { .loc 1 2 3, x; }":           `4:24: expected function_name or inlined_at, found "x"`,
		".entry k { mov é; }":                   `4:16: byte 0xc3 does not belong into PTX`,
		".entry k { t: .callprototype (; }":     `4:31: expected .param, found ";"`,
		".entry k { t: .callprototype f (); }":  `4:30: expected _ for the function, found "f"`,
		".entry k { mov 0f3F80000_; }":          `4:16: "0f3F80000_" should have 8 hexadecimal digits after 0f`,
		".entry k { /* \n\n */ } }":             `6:7: expected a directive such as .entry or .global, found "}"`,
		"." + strings.Repeat("x", 50): `4:1: expected a directive such as .entry or .global, found "` + "." +
			strings.Repeat("x", 39) + `"…`,
	} {
		_, err := Parse("t.ptx", header+text)
		if want == "" {
			require.NoError(t, err, text)
			continue
		}
		assert.EqualError(t, err, "t.ptx:"+want, text)
	}
}
