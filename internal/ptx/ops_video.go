package ptx

import "strings"

func videoForms() []form {
	var rows []form
	for _, parts := range []string{"2", "4"} {
		for _, op := range []string{"vadd", "vsub", "vavrg", "vabsdiff", "vmin", "vmax"} {
			rows = append(rows, form{op: op + parts, suffixes: "u32|s32 u32|s32 u32|s32 sat|add?", class: ClassInteger,
				build: video})
		}
	}
	return rows
}

// video is an instruction on two or four parts of a word (PTX ISA 9.7.17.2): d = op(a, b) part by part, or with .add
// the sum of the parts and c. Masks and selections of parts are not supported.
func video(d *decoder) {
	size := uint(16)
	if strings.HasSuffix(d.src.Op, "4") {
		size = 8
	}
	op := d.src.Op[:len(d.src.Op)-1]
	signedD, signedA, signedB := d.mods[0] == "s32", d.mods[1] == "s32", d.mods[2] == "s32"
	sat, sum := d.has("sat"), d.has("add")
	part := func(u uint32, at uint, signed bool) int64 {
		v := int64(u>>at) & (1<<size - 1)
		if signed && v >= 1<<(size-1) {
			v -= 1 << size
		}
		return v
	}
	one := func(a, b int64) int64 {
		switch op {
		case "vadd":
			return a + b
		case "vsub":
			return a - b
		case "vavrg":
			return (a + b + 1) >> 1
		case "vabsdiff":
			return max(a-b, b-a)
		case "vmin":
			return min(a, b)
		}
		return max(a, b)
	}
	least, most := int64(0), int64(1)<<size-1
	if signedD {
		least, most = -1<<(size-1), 1<<(size-1)-1
	}
	bind3(d, each3(func(a, b, c uint32) uint32 {
		total, word := int64(int32(c)), uint32(0)
		for at := uint(0); at < 32; at += size {
			v := one(part(a, at, signedA), part(b, at, signedB))
			if sat {
				v = min(max(v, least), most)
			}
			total += v
			word |= uint32(v) & (1<<size - 1) << at
		}
		if sum {
			return uint32(total)
		}
		return word
	}))
}
