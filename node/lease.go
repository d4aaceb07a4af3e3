package node

import (
	"context"
	"fmt"
	"math"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/seed-95a32959/holdfast/internal/planted"
	"github.com/seed-95a32959/holdfast/session"
)

const (
	// leaseTime is how long a heartbeat's answer entitles its sender to serve.
	// Whoever answers does not take over for as long after answering, so the
	// lease has ended by the time that a successor starts. Only durations are
	// compared, each on one member's monotonic clock.
	leaseTime = time.Second
	// askTimeout is how long an owner without a lease asks the others before
	// it takes them for unreachable, and askTrips how many round trips longer: a
	// connection that stood still for long is made anew, which takes three, and
	// then it is asked.
	askTimeout = 300 * time.Millisecond
	askTrips   = 5
	// gapTick and gapLimit find a process that was stopped or a machine that
	// was frozen: a tick that comes this late drops the lease.
	gapTick  = 100 * time.Millisecond
	gapLimit = 500 * time.Millisecond
	// wakeTime is for how long after it goes on such a process may still read
	// what came before. It is more than what clocks are taken for is off by.
	wakeTime = 250 * time.Millisecond
	// settleTicks is how many of these ticks pass from one look at whether the
	// membership has settled to the next.
	settleTicks = 10
	// stableAfter is how long a majority must see one membership before what
	// counts as the whole cluster shrinks to it.
	stableAfter = 30 * time.Second
)

// PartitionMode says what an owner does that cannot reach the others.
type PartitionMode string

const (
	// PartitionAvailable serves on, and marks its answers as degraded. When
	// the network heals, both sides' writes are merged.
	PartitionAvailable PartitionMode = "available"
	// PartitionMajority refuses unless it reaches a majority of the nodes that
	// the cluster last had, so at most one side serves.
	PartitionMajority PartitionMode = "majority"
)

// lease is this node's right to serve without asking: for a second after a
// heartbeat that another node has answered. It covers all partitions, because
// every claim needs the consent of every live node, and a node that has just
// answered this one's heartbeat refuses claims to what this one serves.
//
// A node whose lease has run out may have been succeeded meanwhile, and so may
// have been whoever answers it first: two processes that stood still together know
// of nothing, and each would give the other a lease. So all others must answer
// before it serves again, or, if not all do in time, as many as usual (see ask).
type lease struct {
	node  *Node
	until atomic.Int64 // nanoseconds since the node's start
	vain  atomic.Int64 // when the others were last asked and not all answered, nanoseconds since the node's start; 0 for never

	// alone says that this node sees no other one, and that one may be alive.
	alone  atomic.Bool
	ticked atomic.Int64 // when watch last ran, nanoseconds since the node's start; 0 before
	goneOn atomic.Int64 // when watch last found that this process had stood still, unix ns; 0 for never

	mu sync.Mutex // guards what follows
	// stable are the nodes that count as the whole cluster: those that are in
	// the view, and those that vanished without a good-bye.
	stable map[string]bool
}

func newLease(n *Node) *lease { return &lease{node: n, stable: make(map[string]bool)} }

// held says whether this node may serve at this moment.
func (l *lease) held() bool {
	return int64(l.node.since()) < l.until.Load() || planted.Is(planted.ExpiredLease)
}

// renew computes the lease from what the links have heard. It is called when a
// heartbeat was answered, after what the answer says about claims has been
// taken in, and when the view changes.
func (l *lease) renew() {
	n := l.node
	view := n.View()
	var heard []int64
	for _, m := range view.Nodes() {
		if k := n.linkTo(m.ID); k != nil {
			heard = append(heard, k.heard.Load())
		}
	}
	slices.Sort(heard)
	slices.Reverse(heard)
	need := l.others(view)
	if need > 0 && !l.held() && !l.vainly() && !planted.Is(planted.LeaseByOne) {
		need = max(need, len(view.Others(l.node.id)))
	}
	switch {
	case need == 0:
		l.until.Store(math.MaxInt64)
	case need > len(heard) || heard[need-1] == 0:
		l.until.Store(0)
	default:
		l.until.Store(heard[need-1] + int64(leaseTime))
	}
}

// vainly says whether the others were asked a moment ago and not all answered.
func (l *lease) vainly() bool {
	vain := l.vain.Load()
	return vain != 0 && l.node.since()-time.Duration(vain) <= leaseTime
}

// others returns how many other nodes must have answered for a lease to go on.
func (l *lease) others(view *View) int {
	if l.node.cfg.PartitionMode == PartitionMajority {
		return l.majority(view) - 1
	}
	return min(1, len(view.Others(l.node.id)))
}

func (l *lease) majority(view *View) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return max(len(l.stable), 1)/2 + 1
}

// viewChanged keeps the account of what the whole cluster is.
func (l *lease) viewChanged(view *View) {
	l.mu.Lock()
	for _, m := range view.Members {
		if m.Role != RoleNode {
			continue
		}
		now := view.Named(m.Name)
		switch {
		case m.Serves():
			l.stable[m.Name] = true
		case (m.Left || m.State == StateLeaving) && (now == nil || now == m):
			delete(l.stable, m.Name) // it has said good-bye
		}
	}
	l.mu.Unlock()
	l.alone.Store(len(view.Others(l.node.id)) == 0 && slices.ContainsFunc(view.Members, func(m *Member) bool {
		return m.ID != l.node.id && m.Role == RoleNode && !m.Left && !l.node.View().HasEnded(m.ID)
	}))
	l.renew()
}

// settle shrinks the whole cluster to the present view once a majority has
// seen it unchanged for a while: nodes that never came back no longer count.
func (l *lease) settle(view *View) {
	if !l.node.rings.settled() {
		return
	}
	for p := range l.node.owner.blind {
		l.node.owner.blind[p].Store(false) // they are not coming back
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	nodes := view.Nodes()
	if len(nodes) <= len(l.stable)/2 || len(nodes) == len(l.stable) {
		return
	}
	l.stable = make(map[string]bool, len(nodes))
	for _, m := range nodes {
		l.stable[m.Name] = true
	}
}

// splitSuspected says whether fewer than half of the cluster's nodes are in
// the view: more likely a cut network than so many deaths.
func (l *lease) splitSuspected() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return 2*len(l.node.View().Nodes()) < len(l.stable)
}

// patience is how long the others have to answer an owner without a lease.
func (l *lease) patience() time.Duration {
	longest := time.Duration(0)
	for _, k := range l.node.allLinks() {
		longest = max(longest, time.Duration(k.trip.Load()))
	}
	return min(askTimeout+askTrips*longest, silentLimit)
}

// errNoMajority is why an owner refuses in PartitionMajority.
var errNoMajority = fmt.Errorf("%w: the majority of the cluster cannot be reached", session.ErrUnavailable)

// ask renews the lease by asking the others now. If too few answer, the partition
// mode decides: serve and say so, or refuse.
func (l *lease) ask(ctx context.Context) (degraded bool, err error) {
	n := l.node
	if !l.vainly() {
		for _, k := range n.allLinks() {
			k.kick()
		}
		deadline := time.After(l.patience())
		for waiting := true; waiting && !l.held(); {
			changed := n.members.changed()
			select {
			case <-changed:
			case <-time.After(recheck):
			case <-deadline:
				waiting = false
			case <-ctx.Done():
				return false, ctx.Err()
			}
		}
		if l.held() {
			return false, nil
		}
		l.vain.Store(max(1, int64(n.since())))
		if l.renew(); !l.held() {
			n.stats.unleased.Add(1)
		}
	}
	if l.held() {
		return false, nil
	}
	if n.cfg.PartitionMode == PartitionMajority {
		return false, errNoMajority
	}
	return true, nil
}

// stoodStill says whether this process was not running for a while after sent,
// or shortly before: what it reads in its first moments may have waited for it.
func (l *lease) stoodStill(sent time.Time) bool {
	if t := l.ticked.Load(); t != 0 && l.node.since()-time.Duration(t) > gapLimit {
		return true // watch has not run yet
	}
	goneOn := l.goneOn.Load()
	return goneOn != 0 && sent.Add(-wakeTime).UnixNano() < goneOn
}

// watch drops the lease when this process was not running for a while, which
// it cannot know otherwise where the machine's clocks stood still with it.
func (l *lease) watch(ctx context.Context) {
	tick := time.NewTicker(gapTick)
	defer tick.Stop()
	defer l.ticked.Store(0)
	last := time.Now()
	for ticks := 0; ; ticks++ {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		now := time.Now()
		l.ran(max(now.Sub(last), now.Round(0).Sub(last.Round(0)))) // monotonic, and wall
		last = now
		if ticks%settleTicks == 0 {
			view := l.node.View()
			l.node.rings.look(view)
			l.settle(view)
		}
	}
}

// ran is told that this process runs, and for how long before it is not known to
// have.
func (l *lease) ran(gap time.Duration) {
	if gap >= gapLimit {
		l.goneOn.Store(l.node.cfg.Now().UnixNano())
	}
	l.ticked.Store(max(1, int64(l.node.since())))
	if gap < gapLimit {
		return
	}
	l.until.Store(0)
	l.vain.Store(0)
	for _, k := range l.node.allLinks() {
		k.heard.Store(0)
		k.kick()
	}
	l.node.stats.gaps.Add(1)
	l.node.log.Warn("this process stood still; asking before serving", "for", gap.Round(time.Millisecond))
	l.node.events.Add("stood-still", "ms", gap.Milliseconds())
	l.renew()
}
