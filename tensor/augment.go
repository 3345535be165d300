package tensor

import "math"

// RandomCrops picks images by their index and shifts, and perhaps mirrors, each by draws of its own: what a crop of the
// original size out of an image with so many rows and columns of zeros around it (padding) gives, and, if flip is set,
// a flip from left to right with probability ½ before that. images are [n,h,w,c], of bytes or Real numbers, index Int
// [b]; the result is Real [b,h,w,c], with zeros where an image does not reach.
//
// It is one Gather of pixels, so that no padded copy is ever made and images of bytes stay bytes. The draws are
// integers of RandomInts(2·(2·padding + 1), seed, step, stream, 2, b): row 0 modulo 2·padding + 1 is the number of rows
// that image i moves up, less padding; row 1 likewise the columns that it moves left, and the upper half of its numbers
// flips.
func RandomCrops(images, index *Node, padding int, flip bool, seed, step *Node, stream uint32) *Node {
	const name = "RandomCrops"
	images.wantRank(name, 4)
	index.want(name, Int)
	index.wantRank(name, 1)
	n, h, w, c := images.shape[0], images.shape[1], images.shape[2], images.shape[3]
	if padding < 0 || padding > h || padding > w {
		fail(name, "padding %d of images %v: wants at least 0, and at most the size of an image", padding, images.shape)
	}
	if n*h*w > math.MaxInt32 {
		fail(name, "images %v have 2^31 pixels or more, which an index does not count", images.shape)
	}
	b := index.shape[0]
	shifts := 2*padding + 1
	draws := RandomInts(uint32(2*shifts), seed, step, stream, 2, b)
	upper := IntConst(int32(shifts - 1)).Lt(draws)
	shift := draws.ToReal().Sub(upper.Scale(float64(shifts))).AddConst(-float64(padding)) // -padding … padding
	of := func(n *Node, row int) *Node { return n.Slice(0, row, row+1).Reshape(b, 1, 1) }

	y := Iota(1, b, h, w).ToReal().Add(of(shift, 0))
	x := Iota(2, b, h, w).ToReal().Add(of(shift, 1))
	inside := within(y, h).Mul(within(x, w))
	if flip { // the image was mirrored first
		x = Where(of(upper, 1), Const(float64(w-1)).Sub(x), x)
	}
	row := y.Clamp(Const(0), Const(float64(h-1))).ToInt()
	column := x.Clamp(Const(0), Const(float64(w-1))).ToInt()
	pixel := index.Reshape(b, 1, 1).Mul(IntConst(int32(h * w))).Add(row.Mul(IntConst(int32(w)))).Add(column)
	picked := Gather(images.Reshape(n*h*w, c), pixel.Flatten()).Reshape(b, h, w, c)
	return Where(inside.Reshape(b, h, w, 1), picked, Const(0))
}

// within is 1 where x is one of 0…n-1, else 0; x is whole.
func within(x *Node, n int) *Node {
	return Const(-0.5).Lt(x).Mul(x.Lt(Const(float64(n) - 0.5)))
}
