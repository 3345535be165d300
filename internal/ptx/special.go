package ptx

// special is a special register (PTX ISA chapter 10).
type special uint8

const (
	regTidX special = iota
	regTidY
	regTidZ
	regNtidX
	regNtidY
	regNtidZ
	regCtaidX
	regCtaidY
	regCtaidZ
	regNctaidX
	regNctaidY
	regNctaidZ
	regLane
	regWarp
	regNwarp
	regSM
	regNsm
	regGrid
	regMaskEq
	regMaskLt
	regMaskLe
	regMaskGt
	regMaskGe
	regDynamicShared
	regTotalShared
	regZero // reads as 0: envreg, clusters
	regOne
	regReserved // start of the shared memory that the system keeps for cooperative groups
	regReservedBytes
	regWorkspaceHi // address of a cooperative launch's workspace
	regWorkspaceLo
	regClock   // changes: read by mov only
	regClock64 // the same, 64 bits
	regTimer
	regTimerHi
)

type specialInfo struct {
	reg     special
	dynamic bool // changes while a thread runs
}

var specials = map[string]specialInfo{
	"%tid.x": {reg: regTidX}, "%tid.y": {reg: regTidY}, "%tid.z": {reg: regTidZ}, "%tid.w": {reg: regZero},
	"%ntid.x": {reg: regNtidX}, "%ntid.y": {reg: regNtidY}, "%ntid.z": {reg: regNtidZ}, "%ntid.w": {reg: regZero},
	"%ctaid.x": {reg: regCtaidX}, "%ctaid.y": {reg: regCtaidY}, "%ctaid.z": {reg: regCtaidZ},
	"%ctaid.w":  {reg: regZero},
	"%nctaid.x": {reg: regNctaidX}, "%nctaid.y": {reg: regNctaidY}, "%nctaid.z": {reg: regNctaidZ},
	"%nctaid.w": {reg: regZero},
	"%laneid":   {reg: regLane}, "%warpid": {reg: regWarp}, "%nwarpid": {reg: regNwarp},
	"%smid": {reg: regSM}, "%nsmid": {reg: regNsm}, "%gridid": {reg: regGrid},
	"%lanemask_eq": {reg: regMaskEq}, "%lanemask_lt": {reg: regMaskLt}, "%lanemask_le": {reg: regMaskLe},
	"%lanemask_gt": {reg: regMaskGt}, "%lanemask_ge": {reg: regMaskGe},
	"%dynamic_smem_size": {reg: regDynamicShared}, "%total_smem_size": {reg: regTotalShared},
	"%aggr_smem_size": {reg: regTotalShared},
	"%clock":          {regClock, true}, "%clock_hi": {regTimerHi, true}, "%clock64": {regClock64, true},
	"%globaltimer": {regTimer, true}, "%globaltimer_lo": {regTimer, true}, "%globaltimer_hi": {regTimerHi, true},
	"%envreg0": {reg: regZero}, "%envreg1": {reg: regWorkspaceHi}, "%envreg2": {reg: regWorkspaceLo},
	"%envreg3":                {reg: regZero},
	"%reserved_smem_offset_0": {reg: regReserved}, "%reserved_smem_offset_1": {reg: regReserved},
	"%reserved_smem_offset_begin": {reg: regReserved}, "%reserved_smem_offset_cap": {reg: regReservedBytes},
	"%clusterid.x": {reg: regCtaidX}, "%clusterid.y": {reg: regCtaidY}, "%clusterid.z": {reg: regCtaidZ},
	"%nclusterid.x": {reg: regNctaidX}, "%nclusterid.y": {reg: regNctaidY}, "%nclusterid.z": {reg: regNctaidZ},
	"%cluster_ctaid.x": {reg: regZero}, "%cluster_ctaid.y": {reg: regZero}, "%cluster_ctaid.z": {reg: regZero},
	"%cluster_nctaid.x": {reg: regOne}, "%cluster_nctaid.y": {reg: regOne}, "%cluster_nctaid.z": {reg: regOne},
	"%cluster_ctarank": {reg: regZero}, "%cluster_nctarank": {reg: regOne}, "%is_explicit_cluster": {reg: regZero},
}

// perBlock says that a register differs between the blocks of a launch.
func (s special) perBlock() bool {
	return s >= regCtaidX && s <= regCtaidZ || s == regSM
}

// value is the register's value in a lane of a warp of a block.
func (s special) value(w *warp, lane int) uint64 {
	e, t := w.block.run, w.id*warpSize+lane
	x, y := e.launch.Block[0], e.launch.Block[1]
	bit := uint64(1) << lane
	switch s {
	case regTidX:
		return uint64(t % x)
	case regTidY:
		return uint64(t / x % y)
	case regTidZ:
		return uint64(t / x / y)
	case regNtidX, regNtidY, regNtidZ:
		return uint64(e.launch.Block[s-regNtidX])
	case regCtaidX, regCtaidY, regCtaidZ:
		return uint64(w.block.at[s-regCtaidX])
	case regNctaidX, regNctaidY, regNctaidZ:
		return uint64(e.launch.Grid[s-regNctaidX])
	case regLane:
		return uint64(lane)
	case regWarp:
		return uint64(w.id)
	case regNwarp:
		return uint64(e.machine.card.ThreadsPerSM / warpSize)
	case regSM:
		return uint64(w.block.number % uint64(e.machine.card.SMs))
	case regNsm:
		return uint64(e.machine.card.SMs)
	case regGrid:
		return e.machine.launches
	case regMaskEq:
		return bit
	case regMaskLt:
		return bit - 1
	case regMaskLe:
		return bit<<1 - 1
	case regMaskGt:
		return 0xffffffff &^ (bit<<1 - 1)
	case regMaskGe:
		return 0xffffffff &^ (bit - 1)
	case regDynamicShared:
		return uint64(e.launch.Shared)
	case regTotalShared:
		return uint64(e.shared)
	case regOne:
		return 1
	case regReserved:
		return uint64(e.shared+15) &^ 15
	case regReservedBytes:
		return reservedShared
	case regWorkspaceHi:
		return e.workspace >> 32
	case regWorkspaceLo:
		return e.workspace & 0xffffffff
	case regClock, regClock64:
		return w.steps
	case regTimer:
		return w.steps
	case regTimerHi:
		return w.steps >> 32
	}
	return 0
}
