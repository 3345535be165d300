// Package arith is the scalar arithmetic of PTX: pure functions from bits to bits, with nothing of a simulator in them.
// Source: PTX ISA 9.1, chapter 9.7; what it leaves open is said at each function. Registers hold bits, so arguments
// and results are uint16, uint32 and uint64.
//
//	single     AddRN SubRN MulRN FmaRN, and with modifiers Mode.AddF32 SubF32 MulF32 FmaF32 DivF32 RcpF32 SqrtF32
//	           MinF32 MaxF32 AbsF32 NegF32, CopysignF32, Cmp.F32 Cmp.F32FTZ, Class.F32
//	double     Mode.AddF64 … SqrtF64 MinF64 MaxF64, AbsF64 NegF64 CopysignF64, Cmp.F64, Class.F64,
//	           RcpApproxF64 RsqrtApproxF64
//	half       F16() and BF16(), values with Add Sub Mul Fma Min Max Abs Neg Holds; Pack1 Pack2 Pack3 for two at once
//	cvt        Cvt (any two scalar types), CvtPack (two f32 into f16x2 or bf16x2)
//	approx     Approx.Eval (correctly rounded), Approx.Perturb (anywhere within the documented error), Approx.Bound
//	tensor     Dot.F32 F16: one rounding, or the published truncating models Ampere and Hopper
//	integer    AddSat SubSat MadHiSat MulHi{S32,U32,S64,U64} Mul24{S,U} Div Rem Sad Shl Shr ShfL ShfR Bfe Bfi Bfind
//	           Fns Lop3 Prmt.Permute Szext Bmsk Dp4a Dp2a, Int (comparison); what Go's operators and math/bits do is
//	           not repeated
//	words      ParseRound ParseCmp ParsePrmt ParseClass read suffixes
//
// The zero Mode is the plain instruction. Results that are not numbers have one canonical encoding each (NaN32 and its
// like); min, max, abs, neg and copysign, which only choose or move bits, keep what they pass on.
package arith
