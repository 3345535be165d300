// Package cputime tells how much processor time this process has taken, which, other than the time on the wall, does
// not depend on what else the machine does.
package cputime
