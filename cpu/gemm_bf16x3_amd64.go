//go:build !purego

package cpu

import "unsafe"

var bf16x3AMX = bf16x3Kernels{step: 185, least: 4e6, left: leftAMX, right: rightAMX, multiply: multiplyAMX}

// tilesOf is the number of tiles of so many rows or columns.
func tilesOf(n int) int { return (n + 15) / 16 }

// bytesOf is the memory of x, which must not be empty.
func bytesOf(x []float32) *byte { return (*byte)(unsafe.Pointer(&x[0])) }

func leftAMX(to, from []float32, ld, rows, k int) bool {
	const tile = 256 // float32 in a tile
	tiles, finite := tilesOf(rows), true
	for i := range tiles {
		finite = splitRowsAMX(bytesOf(to[i*tile:]), tiles, &from[16*i*ld], ld, min(16, rows-16*i), k) && finite
	}
	return finite
}

func rightAMX(to, from []float32, ld, k, cols int) bool {
	const together = 2
	room, finite := panelRoom(bf16x3Panel, k), true
	for j := 0; j < cols; {
		panels, lanes := min((cols-j)/bf16x3Panel, together), 16
		width := panels * bf16x3Panel
		if panels == 0 {
			panels, width, lanes = 1, cols-j, (cols-j-1)%16+1
		}
		if to := bytesOf(to[j/bf16x3Panel*room:]); width <= 16 {
			finite = splitPairs1AMX(to, 4*room, &from[j], ld, k, panels, lanes) && finite
		} else {
			finite = splitPairs2AMX(to, 4*room, &from[j], ld, k, panels, lanes) && finite
		}
		j += width
	}
	return finite
}

func multiplyAMX(rows, cols, k int, a, b, c []float32, ldc int, add bool) {
	panels := cols / bf16x3Panel
	if panels > 0 {
		panelsAMX(rows, bf16x3Panel, k, a, b, c, ldc, panels, add)
	}
	if rest := cols % bf16x3Panel; rest > 0 {
		panelsAMX(rows, rest, k, a, b[panels*panelRoom(bf16x3Panel, k):], c[panels*bf16x3Panel:], ldc, 1, add)
	}
}

// panelsAMX takes the kernel of as many tiles as rows and columns of a panel need. (It calls each by its name, since
// what goes to a function out of a table is taken to the heap.)
func panelsAMX(rows, cols, k int, a, b, c []float32, ldc, panels int, add bool) {
	config, steps := tileConfig(rows, cols), (k+bf16x3Terms-1)/bf16x3Terms
	switch [2]int{tilesOf(rows), tilesOf(cols)} {
	case [2]int{1, 1}:
		amx1x1(&config[0], steps, bytesOf(a), bytesOf(b), &c[0], ldc, panels, add)
	case [2]int{1, 2}:
		amx1x2(&config[0], steps, bytesOf(a), bytesOf(b), &c[0], ldc, panels, add)
	case [2]int{2, 1}:
		amx2x1(&config[0], steps, bytesOf(a), bytesOf(b), &c[0], ldc, panels, add)
	default:
		amx2x2(&config[0], steps, bytesOf(a), bytesOf(b), &c[0], ldc, panels, add)
	}
}

// tileConfig is the operand of LDTILECFG for a panel of so many rows by one of so many columns: palette 1, then the
// bytes of a row and the rows of each tile. Tiles 0…3 are sums, 4 and 5 of A, 6 and 7 of B.
func tileConfig(rows, cols int) (config [64]byte) {
	config[0] = 1
	set := func(tile, rows, bytes int) {
		if rows > 0 && bytes > 0 {
			config[16+2*tile], config[48+tile] = byte(bytes), byte(rows)
		}
	}
	r, c := [2]int{min(rows, 16), rows - 16}, [2]int{min(cols, 16), cols - 16}
	for i := range 2 {
		for j := range 2 {
			set(2*i+j, r[i], 4*c[j])
		}
		set(4+i, r[i], 64)
		set(6+i, 16, 4*c[i])
	}
	return config
}
