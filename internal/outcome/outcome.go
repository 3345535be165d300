// Package outcome words the ways in which numerical work can end, for the status types of solvers.
package outcome

import "fmt"

// Texts are the ends of one kind of work, by status: the name of each, and what to try after it, empty where there is
// nothing to say.
type Texts [][2]string

// Name is the name of a status; of one that is not in the table it is Status(N).
func (t Texts) Name(status uint8) string {
	if int(status) < len(t) {
		return t[status][0]
	}
	return fmt.Sprintf("Status(%d)", status)
}

// Advice says what to try after a status.
func (t Texts) Advice(status uint8) string {
	if int(status) < len(t) {
		return t[status][1]
	}
	return ""
}
