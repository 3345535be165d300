package main

import (
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"strconv"

	"bilevel/internal/ptx"
)

// checks are the options of how a kernel is checked.
type checks struct {
	strictVolatile bool
	strictOrder    bool
	warps          ptx.WarpOrder
	warpSeed       uint64
}

// flags adds the flags that set them.
func (c *checks) flags(set *flag.FlagSet) {
	set.BoolVar(&c.strictVolatile, "strict-volatile", c.strictVolatile, "")
	set.BoolVar(&c.strictOrder, "strict-order", c.strictOrder, "")
	set.Func("warps", "", c.parseWarps)
}

// parseWarps reads the order of warps.
func (c *checks) parseWarps(text string) (err error) {
	switch text {
	case "in-step":
		c.warps = ptx.WarpsInStep
		return nil
	case "random":
		c.warps, c.warpSeed = ptx.WarpsRandom, rand.Uint64N(1_000_000)
		return nil
	}
	c.warps = ptx.WarpsRandom
	if c.warpSeed, err = strconv.ParseUint(text, 10, 64); err != nil {
		return errors.New("want in-step, random or the number of a random order")
	}
	return nil
}

// sound says what is wrong with the flags together.
func (c *checks) sound(sanitize bool) error {
	for _, f := range []struct {
		name  string
		given bool
	}{{"--strict-volatile", c.strictVolatile}, {"--strict-order", c.strictOrder}} {
		if f.given && !sanitize {
			return fmt.Errorf("%s is for checks, which --sanitize asks for", f.name)
		}
	}
	return nil
}

// options adds them to those of a machine.
func (c *checks) options(opt ptx.Options) ptx.Options {
	opt.StrictVolatile, opt.Warps, opt.WarpSeed = c.strictVolatile, c.warps, c.warpSeed
	return opt
}

// faults counts the reports that are not notes, or all of them.
func (c *checks) faults(list []ptx.Report) (n int) {
	for _, r := range list {
		if !r.Note || c.strictOrder {
			n++
		}
	}
	return n
}

// summary counts what was found, and says which random order of warps shows it again.
func (c *checks) summary(list []ptx.Report) string {
	n := c.faults(list)
	text := plural(n, "report")
	if notes := len(list) - n; notes > 0 {
		text += ", " + plural(notes, "note")
	}
	if c.warps == ptx.WarpsRandom {
		text += fmt.Sprintf(" (--warps %d)", c.warpSeed)
	}
	return text
}
