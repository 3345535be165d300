package philox

// chunk is the number of words the fill functions draw at a time before they turn them into numbers.
const chunk = 256

// Bits computes dst[i] = element from+i of the stream, its 32 bits as an int32.
func Bits(dst []int32, seed uint64, step, stream uint32, from uint64) {
	block := from / 4
	if k := int(from % 4); k != 0 {
		w := Block(seed, step, stream, block)
		n := min(4-k, len(dst))
		for i := range n {
			dst[i] = int32(w[k+i])
		}
		dst = dst[n:]
		block++
	}
	for ; len(dst) >= 4; block++ {
		w := Block(seed, step, stream, block)
		dst[0], dst[1], dst[2], dst[3] = int32(w[0]), int32(w[1]), int32(w[2]), int32(w[3])
		dst = dst[4:]
	}
	if len(dst) > 0 {
		w := Block(seed, step, stream, block)
		for i := range dst {
			dst[i] = int32(w[i])
		}
	}
}

// Integers computes dst[i] = Integer(element from+i, n): integers in [0, n), 1 ≤ n ≤ 2³¹. It panics for any other n.
func Integers(dst []int32, n uint32, seed uint64, step, stream uint32, from uint64) {
	if n == 0 || n > 1<<31 {
		panic(panicBound)
	}
	Bits(dst, seed, step, stream, from)
	for i, b := range dst {
		dst[i] = Integer(uint32(b), n)
	}
}

// Uniforms computes dst[i] = Uniform(element from+i): numbers in [0, 1).
func Uniforms(dst []float32, seed uint64, step, stream uint32, from uint64) {
	var words [chunk]int32
	for len(dst) > 0 {
		w := words[:min(chunk, len(dst))]
		Bits(w, seed, step, stream, from)
		for i, b := range w {
			dst[i] = Uniform(uint32(b))
		}
		dst = dst[len(w):]
		from += uint64(len(w))
	}
}

// Normals computes dst[i] = Normal(element from+i): standard normal numbers.
func Normals(dst []float32, seed uint64, step, stream uint32, from uint64) {
	var words [chunk]int32
	for len(dst) > 0 {
		w := words[:min(chunk, len(dst))]
		Bits(w, seed, step, stream, from)
		for i, b := range w {
			dst[i] = Normal(uint32(b))
		}
		dst = dst[len(w):]
		from += uint64(len(w))
	}
}
