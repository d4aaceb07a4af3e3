package main

import (
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
	"time"
)

// crowded is the share of the machine from which on other programs are told
// of beside a bar that was missed: what is measured then is them as well.
const crowded = 0.25

// reading is how much CPU time has been taken so far, by all programs on this
// machine and by this one with the members that it has started.
type reading struct {
	at        time.Time
	all, ours time.Duration
}

func (c *cluster) reading() reading {
	r := reading{at: time.Now()}
	if b, err := os.ReadFile("/proc/stat"); err == nil {
		r.all = parseBusy(string(b))
	}
	if b, err := os.ReadFile("/proc/self/stat"); err == nil {
		r.ours = parseCPU(string(b))
	}
	for _, m := range c.members {
		r.ours += m.cpu()
	}
	return r
}

// others is how many cores other programs took since an earlier reading.
func (r reading) others(earlier reading) float64 {
	others := (r.all - earlier.all) - (r.ours - earlier.ours)
	return max(0, others.Seconds()/max(0.001, r.at.Sub(earlier.at).Seconds()))
}

// parseBusy adds up what all cores did, in the text of /proc/stat, which counts
// in hundredths of a second: in programs, in the kernel for them, and what a
// hypervisor gave to others.
func parseBusy(stat string) time.Duration {
	for line := range strings.Lines(stat) {
		fields := strings.Fields(line)
		if len(fields) < 9 || fields[0] != "cpu" {
			continue
		}
		var ticks int64
		for i, f := range fields[1:9] {
			const idle, waiting = 3, 4
			n, err := strconv.ParseInt(f, 10, 64)
			if err != nil {
				return 0
			}
			if i != idle && i != waiting {
				ticks += n
			}
		}
		return time.Duration(ticks) * 10 * time.Millisecond
	}
	return 0
}

// neighbours tells of other programs that took much of the machine.
func neighbours(cores float64) string {
	if cores < crowded*float64(runtime.NumCPU()) {
		return ""
	}
	return fmt.Sprintf("; other programs took %.1f of %d cores, which may be why", cores, runtime.NumCPU())
}
