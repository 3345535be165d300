package cpu

import (
	"fmt"
	"testing"

	"bilevel/internal/kind"
)

func BenchmarkWino(b *testing.B) {
	for _, s := range []ConvShape{square(64, 32, 64, 64, 3, 1, 1), square(64, 16, 128, 128, 3, 1, 1), square(64, 8, 256, 256, 3, 1, 1), square(64, 4, 512, 512, 3, 1, 1), square(128, 32, 16, 16, 3, 1, 1), square(128, 16, 32, 32, 3, 1, 1), square(128, 8, 64, 64, 3, 1, 1)} {
		for _, k := range []kind.Conv{kind.ConvForward, kind.ConvWeightGradient} {
			for _, direct := range []bool{true, false} {
				b.Run(fmt.Sprintf("%d_%d_%v/%v", s.C, s.H, k, direct), func(b *testing.B) {
					p := NewPool(2, Detected())
					defer p.Close()
					p.direct = direct
					c := newConvCase(p, s, k, 0, 1)
					p.Lock()
					defer p.Unlock()
					c.conv.Run()
					b.ResetTimer()
					for range b.N {
						c.conv.Run()
					}
				})
			}
		}
	}
}
