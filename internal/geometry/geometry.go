// Package geometry describes windows over images, those of convolutions and of pools: once for the devices' interface
// and the processor's loops.
package geometry

import (
	"cmp"
	"fmt"
	"math"
)

// Conv is the geometry of a convolution. Images lie with their channels last, and weights so that their output
// channels lie last. x are N images of H rows, W columns and C channels, w has R rows and S columns:
//
//	x [N,H,W,C]    w [R,S,C/Groups,K]    y [N,P,Q,K]
//	y[n,p,q,k] = Σ over r,s,c of x[n, p·StrideH + r·DilationH - Top, q·StrideW + s·DilationW - Left, c0+c] w[r,s,c,k]
//
// where x is 0 outside the images, and c0 is the first of the C/Groups input channels that the group of k reads: output
// channels k of one group are K/Groups in a row, and so are their input channels.
type Conv struct {
	N, H, W, C           int
	K, R, S              int
	StrideH, StrideW     int
	DilationH, DilationW int
	Top, Bottom          int // rows of zeros around the images
	Left, Right          int // columns of zeros
	Groups               int
}

// Out is the number of rows and columns of the result: P = ⌊(H + Top + Bottom - DilationH (R-1) - 1)/StrideH⌋ + 1, and
// Q likewise.
func (s Conv) Out() (p, q int) {
	return positions(s.H+s.Top+s.Bottom, s.DilationH*(s.R-1)+1, s.StrideH),
		positions(s.W+s.Left+s.Right, s.DilationW*(s.S-1)+1, s.StrideW)
}

// positions is the number of places that a window has in a length, a stride apart.
func positions(length, window, stride int) int { return (length-window)/stride + 1 }

// Images, Weights and Result are the shapes of x, w and y.
func (s Conv) Images() []int  { return []int{s.N, s.H, s.W, s.C} }
func (s Conv) Weights() []int { return []int{s.R, s.S, s.C / s.Groups, s.K} }

func (s Conv) Result() []int {
	p, q := s.Out()
	return []int{s.N, p, q, s.K}
}

// MultiplyAdds is the number of products of one kind of the convolution, those with zeros around the images counted.
func (s Conv) MultiplyAdds() int {
	p, q := s.Out()
	return s.N * p * q * s.K * s.R * s.S * (s.C / s.Groups)
}

// Check says what is wrong with the geometry, and nil where there is such a convolution.
func (s Conv) Check() error {
	if err := cmp.Or(
		least("number of images", 0, s.N), least("height and width of images", 1, s.H, s.W),
		least("number of channels", 1, s.C, s.K), least("height and width of a kernel", 1, s.R, s.S),
		least("stride", 1, s.StrideH, s.StrideW), least("dilation", 1, s.DilationH, s.DilationW),
		least("padding", 0, s.Top, s.Bottom, s.Left, s.Right), least("number of groups", 1, s.Groups),
	); err != nil {
		return err
	}
	if s.C%s.Groups != 0 || s.K%s.Groups != 0 {
		return fmt.Errorf("%d groups do not divide %d input and %d output channels", s.Groups, s.C, s.K)
	}
	if err := cmp.Or(
		covers("rows", s.H, s.Top+s.Bottom, s.R, s.DilationH), covers("columns", s.W, s.Left+s.Right, s.S, s.DilationW),
	); err != nil {
		return err
	}
	return small(s.Images(), s.Weights(), s.Result())
}

// Pool is the geometry of windows of R rows and S columns over N images of H rows, W columns and C channels, whose
// channels lie last. A window at p, q of the P×Q results covers the rows from p·StrideH - Top on and the columns from
// q·StrideW - Left on, as far as the images reach.
type Pool struct {
	N, H, W, C       int
	R, S             int
	StrideH, StrideW int
	Top, Bottom      int // rows around the images
	Left, Right      int // columns
	// CountPadding: an average divides by R·S, as if there were zeros around the images; else by the number of pixels.
	CountPadding bool
}

// Out is the number of rows and columns of the result.
func (s Pool) Out() (p, q int) {
	return positions(s.H+s.Top+s.Bottom, s.R, s.StrideH), positions(s.W+s.Left+s.Right, s.S, s.StrideW)
}

// Images and Result are the shapes of what is read and what is made of it.
func (s Pool) Images() []int { return []int{s.N, s.H, s.W, s.C} }

func (s Pool) Result() []int {
	p, q := s.Out()
	return []int{s.N, p, q, s.C}
}

// Check says what is wrong with the geometry, and nil where there are such windows. Each of them holds a pixel, since
// the padding of a side is smaller than the window.
func (s Pool) Check() error {
	if err := cmp.Or(
		least("number of images", 0, s.N), least("height and width of images", 1, s.H, s.W),
		least("number of channels", 1, s.C), least("height and width of a window", 1, s.R, s.S),
		least("stride", 1, s.StrideH, s.StrideW), least("padding", 0, s.Top, s.Bottom, s.Left, s.Right),
	); err != nil {
		return err
	}
	if most := max(s.Top, s.Bottom); most >= s.R {
		return fmt.Errorf("padding by %d rows for a window of %d: it would hold no pixel", most, s.R)
	}
	if most := max(s.Left, s.Right); most >= s.S {
		return fmt.Errorf("padding by %d columns for a window of %d: it would hold no pixel", most, s.S)
	}
	if err := cmp.Or(
		covers("rows", s.H, s.Top+s.Bottom, s.R, 1), covers("columns", s.W, s.Left+s.Right, s.S, 1),
	); err != nil {
		return err
	}
	return small(s.Images(), s.Result())
}

// least says which of some numbers lies below a bound, or beyond what sums of a few of them may reach.
func least(what string, bound int, numbers ...int) error {
	for _, n := range numbers {
		if n < bound || n > math.MaxInt32 {
			return fmt.Errorf("%s %d: wants at least %d, and less than 2^31", what, n, bound)
		}
	}
	return nil
}

// covers says whether a window, dilated, fits into images and their padding.
func covers(what string, length, padding, window, dilation int) error {
	if reach := dilation*(window-1) + 1; reach > length+padding {
		return fmt.Errorf("a window that covers %d %s is larger than the images, which have %d, and %d of padding",
			reach, what, length, padding)
	}
	return nil
}

// small says whether all shapes have a size.
func small(shapes ...[]int) error {
	for _, s := range shapes {
		if _, err := Size(s); err != nil {
			return err
		}
	}
	return nil
}

// Size is the number of elements of a shape that nobody has checked yet: negative extents and sizes beyond an int are
// errors.
func Size(shape []int) (int, error) {
	n := 1
	for _, d := range shape {
		if d < 0 {
			return 0, fmt.Errorf("negative shape %v", shape)
		}
		if d > 0 && n > math.MaxInt/d {
			return 0, fmt.Errorf("shape %v has too many elements", shape)
		}
		n *= d
	}
	return n, nil
}

// Rows are the rows of the images that the windows of row p cover: from lo to below hi.
func (s Pool) Rows(p int) (lo, hi int) {
	return max(0, p*s.StrideH-s.Top), min(s.H, p*s.StrideH-s.Top+s.R)
}

// Columns are the columns of the images that the windows of column q cover.
func (s Pool) Columns(q int) (lo, hi int) {
	return max(0, q*s.StrideW-s.Left), min(s.W, q*s.StrideW-s.Left+s.S)
}

// GroupSizes are the input and output channels of a group.
func (s Conv) GroupSizes() (in, out int) { return s.C / s.Groups, s.K / s.Groups }
