package explore

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/seed-95a32959/holdfast/internal/ownership"
)

var (
	// cluster begins with all members up and everything served, for long.
	cluster = []string{"cluster"}
	// alone begins with the last of three members alone: two start beside it.
	alone = []string{"start cam", "ready cam", "claim cam", "tick 1s"}
	// apart begins with a frozen owner whom the others hold for dead.
	apart = []string{"cluster", "freeze amy", "tick 1s", "view bob amy", "view cam amy"}
	// lost begins with the owner and its successor killed and started anew,
	// each of whom does not know yet that the other is back.
	lost = []string{"cluster", "crash amy", "crash bob", "view cam amy", "view cam bob", "start amy at cam", "start bob at cam", "tick 500ms"}
	// ownerOff begins behind a cut, with a write that waits for its copy;
	// successorOff behind another cut, and link behind one of a single link.
	ownerOff     = []string{"cluster", "write amy", "cut amy", "tick 1s"}
	successorOff = []string{"cluster", "cut bob", "tick 1s"}
	link         = []string{"cluster", "hold amy bob", "hold bob amy", "tick 1s"}
	// drifted begins with three of five members for whom the other two do not
	// count any more, and one of the three on their side of the next cut.
	drifted = slices.Concat([]string{"cluster", "cut dan ella"}, calm(2*time.Second, 32*time.Second, 3*time.Second),
		[]string{"cut cam", "release cam dan", "release dan cam", "release cam ella", "release ella cam"})
	// rolled begins when all were restarted, one after the other, and then the
	// first of them is cut off.
	rolled = slices.Concat([]string{"cluster"}, restart("amy"), restart("bob"), restart("cam"), []string{"cut amy"})
	// growing begins with two members that start beside three, and grown with
	// two that start beside one that is cut off from its two others.
	growing = slices.Concat([]string{"start cam", "ready cam", "claim cam", "start amy", "start bob"}, calm(time.Second, 3*time.Second),
		[]string{"start dan", "start ella"})
	grown = slices.Concat([]string{"start cam", "ready cam", "claim cam", "start amy", "start bob"}, calm(time.Second, 3*time.Second),
		[]string{"cut amy", "start dan at amy", "start ella at amy"})
	// replaced begins with a member that is cut off and started anew on the
	// other side.
	replaced = slices.Concat([]string{"cluster", "write amy", "cut amy"}, calm(2*time.Second))
)

// calm lets time pass and all happen that can.
func calm(times ...time.Duration) (lines []string) {
	for _, d := range times {
		lines = append(lines, "tick "+d.String(), "calm")
	}
	return lines
}

// restart lets a member drain, say good-bye and start anew.
func restart(name string) []string {
	return slices.Concat([]string{"drain " + name, "calm"}, calm(2*time.Second), []string{"leave " + name, "calm", "start " + name}, calm(2*time.Second, 2*time.Second))
}

// begins are these by the names that ParsePlan knows.
var begins = map[string][]string{"alone": alone, "apart": apart, "lost": lost, "owner-off": ownerOff, "successor-off": successorOff, "link": link, "drifted": drifted, "rolled": rolled, "growing": growing, "grown": grown, "replaced": replaced}

func three(mode ownership.Mode) Config {
	return Config{Members: 3, Partitions: 1, Mode: mode, Tick: 500 * time.Millisecond, Manual: true}
}

// Plans are what is tried by default: three members and one partition, each
// plan with other faults, each in both modes, and then four members and two
// partitions. Those that are seen whole soonest come first and leave their time
// to the others.
//
// Ticks are 500 ms: at multiples of that a lease has just ended (1 s), a claim
// can no longer be settled (after 1.25 s) and a promise has just lapsed
// (1.5 s), in this order. Ticks of 250 ms have a plan, for processes that stand
// still for too short to notice.
func Plans() (plans []Plan) {
	for _, p := range []Plan{
		{Name: "network", Begin: cluster, Bounds: Bounds{Crashes: 1, Losses: 1, Repeats: 1, Claims: 3, Ticks: 4}},
		{Name: "two restart", Begin: lost, Bounds: Bounds{Claims: 2, Ticks: 1}},
		{Name: "owner returns", Begin: apart, Bounds: Bounds{Claims: 2, Ticks: 5}},
		{Name: "freeze", Begin: cluster, Bounds: Bounds{Freezes: 1, Claims: 2, Ticks: 6}},
		{Name: "owner cut off", Begin: ownerOff, Bounds: Bounds{Claims: 2, Ticks: 3}},
		{Name: "successor cut off", Begin: successorOff, Bounds: Bounds{Claims: 2, Ticks: 3}},
		{Name: "cut link", Begin: link, Bounds: Bounds{Freezes: 1, Claims: 1, Ticks: 4}},
		{Name: "crash", Begin: cluster, Bounds: Bounds{Crashes: 1, Starts: 1, Claims: 2, Writes: 1, Ticks: 3}},
		{Name: "two start", Begin: alone, Bounds: Bounds{Starts: 2, Claims: 3, Ticks: 3}},
		{Name: "two freezes", Begin: cluster, Bounds: Bounds{Freezes: 2, Claims: 1, Ticks: 5}},
		{Name: "frozen writer", Begin: cluster, Bounds: Bounds{Freezes: 1, Claims: 1, Writes: 1, Ticks: 5}},
		{Name: "crash and freeze", Begin: cluster, Bounds: Bounds{Crashes: 1, Freezes: 1, Claims: 2, Ticks: 4}},
		{Name: "drain", Begin: cluster, Bounds: Bounds{Drains: 1, Freezes: 1, Claims: 2, Ticks: 4}},
		{Name: "short freezes", Begin: cluster, Bounds: Bounds{Freezes: 2, Claims: 1, Ticks: 8}},
	} {
		for _, mode := range []ownership.Mode{ownership.Available, ownership.Majority} {
			p.Config = three(mode)
			if p.Name == "short freezes" {
				p.Config.Tick = 250 * time.Millisecond
			}
			plans = append(plans, p)
		}
	}
	return append(plans, Plan{
		Name: "four members", Begin: cluster,
		Config: Config{Members: 4, Partitions: 2, Mode: ownership.Available, Tick: 500 * time.Millisecond, Manual: true},
		Bounds: Bounds{Crashes: 1, Freezes: 1, Claims: 3, Ticks: 5},
	})
}

// ParsePlan reads a plan: "members=4 partitions=2 mode=majority tick=250ms
// gossip=500ms ordered alone freezes=2 claims=1 ticks=5". A fault that is not
// named does not happen.
func ParsePlan(text string) (Plan, error) {
	p := Plan{Name: "of your own", Config: three(ownership.Available), Begin: cluster, Bounds: Bounds{Claims: 2, Ticks: 5}}
	bounds := map[string]*int{
		"members": &p.Config.Members, "partitions": &p.Config.Partitions, "crashes": &p.Bounds.Crashes, "starts": &p.Bounds.Starts,
		"drains": &p.Bounds.Drains, "leaves": &p.Bounds.Leaves, "freezes": &p.Bounds.Freezes, "losses": &p.Bounds.Losses, "repeats": &p.Bounds.Repeats,
		"holds": &p.Bounds.Holds, "cuts": &p.Bounds.Cuts, "halves": &p.Bounds.Halves, "claims": &p.Bounds.Claims, "writes": &p.Bounds.Writes, "ticks": &p.Bounds.Ticks,
	}
	for _, word := range strings.Fields(text) {
		key, value, _ := strings.Cut(word, "=")
		var err error
		switch n := bounds[key]; {
		case n != nil:
			*n, err = strconv.Atoi(value)
		case key == "mode":
			p.Config.Mode = ownership.Mode(value)
		case key == "tick":
			p.Config.Tick, err = time.ParseDuration(value)
		case key == "gossip":
			p.Config.Gossip, err = time.ParseDuration(value)
		case key == "ordered":
			p.Config.Ordered = true
		case begins[key] != nil:
			p.Begin = begins[key]
		default:
			err = errUnknown
		}
		if err != nil {
			return p, fmt.Errorf("%s: %w", word, err)
		}
	}
	return p, p.check()
}

// check refuses what a World cannot be.
func (p Plan) check() error {
	c := p.Config
	switch {
	case c.Members < 1 || c.Members > maxMembers:
		return fmt.Errorf("members %d: 1 to %d are accepted", c.Members, maxMembers)
	case c.Partitions < 1 || c.Partitions > maxPartitions:
		return fmt.Errorf("partitions %d: 1 to %d are accepted", c.Partitions, maxPartitions)
	case c.Mode != ownership.Available && c.Mode != ownership.Majority:
		return fmt.Errorf("mode %q: %s and %s are accepted", c.Mode, ownership.Available, ownership.Majority)
	case c.Tick < time.Millisecond:
		return fmt.Errorf("tick %v: 1ms or more is accepted", c.Tick)
	default:
		return nil
	}
}
