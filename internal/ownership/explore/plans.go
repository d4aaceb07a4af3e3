package explore

import (
	"time"

	"github.com/seed-95a32959/holdfast/internal/ownership"
)

// cluster begins with all members up and everything served, for long.
var cluster = []string{"cluster"}

// alone begins with the last of three members alone: two start beside it.
var alone = []string{"start cam", "ready cam", "claim cam", "tick 1s"}

func three(mode ownership.Mode) Config {
	return Config{Members: 3, Partitions: 1, Mode: mode, Tick: 500 * time.Millisecond, Manual: true}
}

// Plans are what is tried by default: three members and one partition, each plan
// with other faults, each in both modes, and then four members.
//
// Ticks are 500 ms: at multiples of that a lease has just ended (1 s), a claim can
// no longer be settled (after 1.25 s) and a promise has just lapsed (1.5 s), in
// this order; half a tick would tell no more of them apart.
func Plans() (plans []Plan) {
	for _, p := range []Plan{
		{Name: "freeze", Begin: cluster, Bounds: Bounds{Freezes: 1, Claims: 2, Writes: 1, Ticks: 6}},
		{Name: "two freezes", Begin: cluster, Bounds: Bounds{Freezes: 2, Claims: 2, Ticks: 5}},
		{Name: "crash", Begin: cluster, Bounds: Bounds{Crashes: 1, Starts: 1, Claims: 2, Writes: 1, Ticks: 4}},
		{Name: "crash and freeze", Begin: cluster, Bounds: Bounds{Crashes: 1, Freezes: 1, Claims: 2, Writes: 1, Ticks: 5}},
		{Name: "network", Begin: cluster, Bounds: Bounds{Crashes: 1, Losses: 1, Repeats: 1, Claims: 3, Writes: 1, Ticks: 4}},
		{Name: "cut", Begin: cluster, Bounds: Bounds{Cuts: 1, Claims: 2, Writes: 1, Ticks: 6}},
		{Name: "stalls", Begin: cluster, Bounds: Bounds{Holds: 2, Freezes: 1, Claims: 1, Ticks: 5}},
		{Name: "start", Begin: alone, Bounds: Bounds{Starts: 2, Claims: 3, Writes: 1, Ticks: 4}},
		{Name: "drain", Begin: cluster, Bounds: Bounds{Drains: 1, Freezes: 1, Claims: 2, Writes: 1, Ticks: 4}},
	} {
		for _, mode := range []ownership.Mode{ownership.Available, ownership.Majority} {
			p.Config = three(mode)
			plans = append(plans, p)
		}
	}
	return append(plans, Plan{
		Name: "four members", Begin: cluster,
		Config: Config{Members: 4, Partitions: 2, Mode: ownership.Available, Tick: 500 * time.Millisecond, Manual: true},
		Bounds: Bounds{Crashes: 1, Freezes: 1, Claims: 3, Ticks: 5},
	})
}
