package ptx_test

// Kernels with functions behind pointers, recursion and barrier objects.
func pointerScenarios() []scenario {
	return []scenario{
		{"through_table", "pointers", [][]int{{1}, {100}}, func(r *rig, s []int) error {
			in := r.integers(s[0], 1000)
			want := make([]int32, s[0])
			for i, v := range in {
				k := int32(i)
				want[i] = [3]int32{v + k, v * k, v - k}[i%3]
			}
			out := blank[int32](r, "out", s[0])
			r.launch("through_table", line(cover(s[0], 32)), line(32), 0, upload(r, "in", in), out, s[0])
			return equal("out", want, download[int32](r, out, s[0]))
		}},
		{"through_object", "pointers", [][]int{{1}, {100}}, func(r *rig, s []int) error {
			in := r.normals(s[0])
			want := make([]float64, s[0])
			for i, v := range in {
				side := float64(v)
				if want[i] = side * side; i%2 == 0 {
					want[i] = side * (side + 1) / 2
				}
			}
			out := blank[float32](r, "out", s[0])
			r.launch("through_object", line(cover(s[0], 32)), line(32), 0, upload(r, "in", in), out, s[0])
			return within("out", want, download[float32](r, out, s[0]),
				func(i int) float64 { return 4 * ulp(1+want[i]) })
		}},
		{"recursive", "pointers", [][]int{{1}, {45}}, func(r *rig, s []int) error {
			in := make([]int32, s[0])
			var want []int32
			fibonacci := []int32{0, 1, 1, 2, 3, 5, 8, 13, 21, 34, 55, 89}
			for i := range in {
				in[i] = int32(r.random.IntN(20))
				// descend adds n to what lies above at every step, so the last call returns n + … + 1, and each
				// own[0]*2 - own[1] is 0.
				want = append(want, fibonacci[in[i]%12], in[i]*(in[i]+1)/2, 1-in[i]%2)
			}
			out := blank[int32](r, "out", 3*s[0])
			r.launch("recursive", line(cover(s[0], 32)), line(32), 0, upload(r, "in", in), out, s[0])
			return equal("out", want, download[int32](r, out, 3*s[0]))
		}},
		{"rounds", "objects", [][]int{{1, 1, 0}, {2, 64, 5}, {3, 128, 4}}, func(r *rig, s []int) error {
			blocks, threads, rounds := s[0], s[1], s[2]
			in := r.integers(blocks*threads, 1000)
			want := make([]int32, len(in))
			for i := range in {
				first, t := i/threads*threads, i%threads
				from := t
				if rounds%2 == 1 {
					from = threads - 1 - t
				}
				want[i] = in[first+from] + int32(rounds*(rounds-1)/2)
			}
			out := blank[int32](r, "out", len(in))
			r.launch("rounds", line(blocks), line(threads), 0, upload(r, "in", in), out, rounds)
			return equal("out", want, download[int32](r, out, len(in)))
		}},
		{"copied", "objects", [][]int{{1, 32}, {3, 128}}, func(r *rig, s []int) error {
			n := 4 * s[1]
			in := r.integers(s[0]*n, 1000)
			want := make([]int32, len(in))
			for i := range in {
				want[i] = in[i/n*n+n-1-i%n]
			}
			out := blank[int32](r, "out", len(in))
			r.launch("copied", line(s[0]), line(s[1]), 0, upload(r, "in", in), out)
			return equal("out", want, download[int32](r, out, len(in)))
		}},
	}
}
