package cpu
import ("testing";"time";"fmt")
func TestProbe(t *testing.T){
 p:=newPoolAt(t,1,AMX)
 pk:=p.level; _=pk
 kk:=kernelsOf(AMX).pieces
 r:=rng(1)
 src:=normals(r,1024*1024)
 best:=func(f func())float64{ b:=1e18; for range 40{ t0:=time.Now(); f(); if d:=float64(time.Since(t0).Nanoseconds()); d<b{b=d}}; return b}
 for _,kc:=range []int{128,256,512}{
  for _,cols:=range []int{256,512}{
  to:=make([]float32,cols*kc*2); a:=make([]float32,32*kc*2)
   c:=make([]float32,32*1040)
  cold:=0
  tb:=best(func(){ kk.right(to,src[cold*kc*1024%(1024*1024):],1024,kc,cols); cold++ })
  tb1:=best(func(){ kk.right(to,src,1024,kc,cols) })
  ta:=best(func(){ kk.left(a,src,1024,32,kc)})
  ta2:=best(func(){ kk.left(a,src,1040,32,kc)})
  tm:=best(func(){ kk.multiply(32,cols,kc,a,to,c,1040,true)})
  fmt.Printf("kc %d cols %d: right %.3f (warm %.3f) ns/el, left %.3f (ld 1040 %.3f) ns/el, multiply %.0f GFLOP/s\n",kc,cols,tb/float64(kc*cols),tb1/float64(kc*cols),ta/float64(32*kc),ta2/float64(32*kc),2*32*float64(cols*kc)/tm)
 }}
}
