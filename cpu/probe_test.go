package cpu
import ("testing";"time";"fmt")
func TestProbe(t *testing.T){
 kk:=kernelsOf(AMX).pieces
 r:=rng(1)
 best:=func(f func())float64{ b:=1e18; for range 60{ t0:=time.Now(); f(); if d:=float64(time.Since(t0).Nanoseconds()); d<b{b=d}}; return b}
 for _,n:=range []int{1024,300,1040}{
 src:=normals(r,1024*n)
 big:=normals(r,4<<20)
 for _,kc:=range []int{128,256,512,1024}{
  for _,cols:=range []int{64,128,256,300,512}{
  if cols>n||cols*kc>1<<17 {continue}
  to:=make([]float32,cols*kc*2)
  cold:=0
  tb:=best(func(){ kk.right(to,src[(cold*kc*n)%(1024*n):],n,kc,cols); cold++ })
  tb1:=best(func(){ kk.right(to,src,n,kc,cols) })
  fmt.Printf("n %d kc %d cols %d: right %.3f (warm %.3f) ns/el\n",n,kc,cols,tb/float64(kc*cols),tb1/float64(kc*cols))
 }}
 // a whole matrix by blocks, read once: L3
 for _,kc:=range []int{256,512,1024}{ cols:=min((1<<17)/kc,n/32*32)
  to:=make([]float32,cols*kc*2)
  tb:=best(func(){ s:=float32(0); for i:=0;i<len(big);i+=16{s+=big[i]}; _=s; })
  tb=1e18
  for range 10 { for i:=0;i<len(big);i+=16{big[i]+=1}
   t0:=time.Now(); for k:=0;k<1024;k+=kc{ for j:=0;j+cols<=n;j+=cols{ kk.right(to,src[k*n+j:],n,kc,cols)}}; if d:=float64(time.Since(t0).Nanoseconds());d<tb{tb=d}}
  fmt.Printf("n %d kc %d cols %d: whole from L3 %.3f ns/el\n",n,kc,cols,tb/float64(1024*(n/cols*cols)))
 }
 }
 for _,n:=range []int{1024,784}{
 src:=normals(r,1024*n); big:=normals(r,4<<20)
 for _,kc:=range []int{256,512}{ a:=make([]float32,1024*kc*2); tb:=1e18
  for range 10 { for i:=0;i<len(big);i+=16{big[i]+=1}
   t0:=time.Now(); for k:=0;k+kc<=n;k+=kc{ for j:=0;j<1024;j+=32{ kk.left(a[j/32*panelRoom(32,kc):],src[j*n+k:],n,32,kc)}}; if d:=float64(time.Since(t0).Nanoseconds());d<tb{tb=d}}
  fmt.Printf("left n %d kc %d: whole from L3 %.3f ns/el\n",n,kc,tb/float64(1024*(n/kc*kc)))
 }}
}
