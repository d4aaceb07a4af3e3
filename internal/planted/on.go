//go:build planted

package planted

import (
	"fmt"
	"os"
)

var present = Bug(os.Getenv("HOLDFAST_PLANTED"))

func init() {
	for _, known := range All {
		if known.Bug == present || present == "" {
			return
		}
	}
	panic(fmt.Sprintf("HOLDFAST_PLANTED=%q: no such bug", present))
}

// Is says whether bug b was planted.
func Is(b Bug) bool { return present == b }
