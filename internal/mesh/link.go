package mesh

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/seed-95a32959/holdfast/internal/member"
	"github.com/seed-95a32959/holdfast/internal/peer"
	"github.com/seed-95a32959/holdfast/internal/planted"
	"github.com/seed-95a32959/holdfast/internal/wait"
)

const (
	heartbeatInterval = 200 * time.Millisecond
	heartbeatTimeout  = time.Second
	dialTimeout       = time.Second
	redialMin         = time.Millisecond
	redialMax         = time.Second
	// SilentLimit is how long a connection may leave every heartbeat unanswered
	// before it is given up. After a cut that lasted long, TCP would try it
	// again only after as long once more, while a new one works at once.
	SilentLimit = 2 * time.Second
	// bulkSilent is for how long nothing may come back on the connection for
	// bulk transfers, which has no heartbeats, before it is replaced.
	bulkSilent = 4 * time.Second
	// callLimit and bulkLimit bound a call whose caller sets no deadline. A
	// bulk transfer has the time that the longest frame takes on a slow line,
	// as long as it makes progress.
	callLimit = 10 * time.Second
	bulkLimit = 2 * time.Minute
	// lately is how recently a member must have answered to be held for alive.
	lately = time.Second
	// goodTrip is a round trip after which a reading of the peer's clock is
	// always taken, and readingLasts for how long one keeps worse ones out.
	goodTrip     = 50 * time.Millisecond
	readingLasts = 10 * time.Second
	// recheck is how often a wait for a connection, or for its end, looks all
	// the same.
	recheck = 20 * time.Millisecond
)

// Link is this member's side of the connections to one boot of one node: a main
// one for requests and heartbeats, and a second one for bulk transfers.
type Link struct {
	mesh *Mesh
	id   member.ID
	addr string // peer address
	log  *slog.Logger
	beat wait.Wake // send a heartbeat now
	stop context.CancelFunc
	made time.Duration // since the process's start
	// heard is when the newest heartbeat that the peer has answered with a
	// lease was sent, in nanoseconds since the process's start, 0 for never.
	heard atomic.Int64
	// offset is how far the peer's clock is ahead, in nanoseconds, give or take
	// half a round trip.
	offset atomic.Int64
	// trip is the round trip by which offset was found, and readAt when, since
	// the process's start, 0 for never; in nanoseconds.
	trip, readAt atomic.Int64
	// hostAhead is how far the clock of the peer's host is ahead of its own, in
	// nanoseconds.
	hostAhead atomic.Int64
	// answered is when the newest heartbeat was sent that the direct connection
	// has answered, or when that came up, and reached is the same for any way.
	// asked is when the peer's last heartbeat came over its own connection to
	// here, 0 for never. All in nanoseconds since the process's start.
	answered, reached, asked atomic.Int64
	// missed counts the heartbeats since reached that nothing came of.
	missed atomic.Int64
	// noRelay is until when no third member is asked to pass anything on, and
	// via is the link to the one that did last. relayBeat is beat for the
	// heartbeats that third members pass on.
	noRelay   atomic.Int64
	via       atomic.Pointer[Link]
	relayBeat wait.Wake
	// up wakes the watched connection when the main one is up, and closed is
	// when the peer closed that one in order, 0 for not; see watch.go.
	up     wait.Wake
	closed atomic.Int64

	mu          sync.Mutex // guards what follows
	main, bulk  *peer.Link
	bulkDialing chan struct{}
	ring        string        // its fingerprint, as the peer last said
	differs     time.Duration // since when it differs from ours, 0 for not
}

func newLink(m *Mesh, id member.ID, address string) *Link {
	return &Link{
		mesh: m, id: id, addr: address, log: m.cfg.Log.With("member", id.Name),
		beat: wait.NewWake(), relayBeat: wait.NewWake(), up: wait.NewWake(), made: m.cfg.Clock.Since(),
	}
}

// ID is the boot that the link is to.
func (l *Link) ID() member.ID { return l.id }

// Beat sends a heartbeat out of turn.
func (l *Link) Beat() {
	l.beat.Kick()
	l.relayBeat.Kick()
}

// ReadsMoved implements replication.Peer.
func (l *Link) ReadsMoved() bool { return l.mesh.Speaks(l.id, member.WireMoved) }

// ListsPages implements replication.Peer.
func (l *Link) ListsPages() bool { return l.mesh.Speaks(l.id, member.WireListPages) }

// Call implements replication.Peer over the main connection, or through a third
// member while that does not answer.
func (l *Link) Call(ctx context.Context, typ byte, payload []byte) ([]byte, error) {
	ctx, cancel := bounded(ctx, callLimit)
	defer cancel()
	return l.call(ctx, typ, payload, false)
}

// direct asks over the main connection.
func (l *Link) direct(ctx context.Context, typ byte, payload []byte) ([]byte, error) {
	l.mu.Lock()
	main := l.main
	l.mu.Unlock()
	if main == nil {
		return nil, fmt.Errorf("%s: %w", l.id.Name, ErrNoLink)
	}
	return main.Call(ctx, typ, payload)
}

// bounded gives a call a deadline that has none.
func bounded(ctx context.Context, limit time.Duration) (context.Context, context.CancelFunc) {
	if _, has := ctx.Deadline(); has {
		return ctx, func() {}
	}
	return context.WithTimeout(ctx, limit)
}

// Bulk is replication.Peer over the second connection.
type Bulk struct{ *Link }

// Bulk returns the way for large transfers.
func (l *Link) Bulk() Bulk { return Bulk{l} }

// Call is Link.Call over the second connection.
func (b Bulk) Call(ctx context.Context, typ byte, payload []byte) ([]byte, error) {
	ctx, cancel := bounded(ctx, bulkLimit)
	defer cancel()
	return b.call(ctx, typ, payload, true)
}

// directBulk asks over the second connection, and dials it when it is first
// needed.
func (l *Link) directBulk(ctx context.Context, typ byte, payload []byte) ([]byte, error) {
	bulk, err := l.connectBulk(ctx)
	if err != nil {
		return nil, err
	}
	return bulk.Call(ctx, typ, payload)
}

func (l *Link) connectBulk(ctx context.Context) (*peer.Link, error) {
	for {
		l.mu.Lock()
		if l.main == nil {
			l.mu.Unlock()
			return nil, fmt.Errorf("%s: %w", l.id.Name, ErrNoLink)
		}
		if l.bulk != nil && l.bulk.Err() == nil {
			defer l.mu.Unlock()
			return l.bulk, nil
		}
		if dialing := l.bulkDialing; dialing != nil {
			l.mu.Unlock()
			select {
			case <-dialing:
				continue
			case <-ctx.Done():
				return nil, ctx.Err()
			}
		}
		dialing := make(chan struct{})
		l.bulkDialing = dialing
		old := l.bulk
		l.mu.Unlock()
		if old != nil {
			if errors.Is(old.Err(), peer.ErrStalled) {
				l.log.Warn("nothing comes back on the connection for bulk transfers, trying a new one", "error", old.Err())
				l.mesh.linksReplaced.Add(1)
			}
			old.Close()
		}
		return l.dialBulk(ctx, dialing)
	}
}

// dialBulk makes the second connection. dialing closes when it is there, or
// not.
func (l *Link) dialBulk(ctx context.Context, dialing chan struct{}) (*peer.Link, error) {
	silent := bulkSilent
	if planted.Is(planted.BulkStalls) {
		silent = 0
	}
	bulk, err := l.connect(ctx, silent)
	l.mu.Lock()
	l.bulkDialing = nil
	lost := l.main == nil // and disconnect has closed all that it knew
	if err == nil && !lost {
		l.bulk = bulk
	}
	l.mu.Unlock()
	close(dialing)
	if err == nil && lost {
		bulk.Close()
		return nil, fmt.Errorf("%s: %w", l.id.Name, ErrNoLink)
	}
	return bulk, err
}

// connect makes one connection and checks that the right boot answers. silent
// is for how long nothing may come back on it, 0 where heartbeats see to that.
func (l *Link) connect(ctx context.Context, silent time.Duration) (*peer.Link, error) {
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	conn, err := l.mesh.cfg.Dial(ctx, l.addr)
	if err != nil {
		return nil, err
	}
	cfg := l.mesh.peerConfig()
	cfg.Wanted, cfg.StallTimeout = peer.Identity{Name: l.id.Name, Boot: l.id.Boot}, silent
	p, err := peer.Connect(ctx, l.mesh.counted(conn), cfg)
	switch {
	case errors.Is(err, peer.ErrOther):
		return nil, errOtherBoot
	case err != nil:
		return nil, err
	}
	if who := p.Peer(); who.Name != l.id.Name || who.Boot != l.id.Boot {
		p.Close()
		return nil, errOtherBoot
	}
	return p, nil
}

// errOtherBoot says that an address answers as another process: the boot that
// was there has ended.
var errOtherBoot = errors.New("the address answers as another process")

// refusedPause is how soon a member that was turned away tries again at first:
// gossip of it may be on its way. refusedSoon is for how long that is likely.
const (
	refusedPause = 50 * time.Millisecond
	refusedSoon  = 5 * time.Second
)

// turnedAway says whether the right process answered and refused.
func turnedAway(err error) bool {
	return errors.Is(err, peer.ErrRefused) && !errors.Is(err, errOtherBoot)
}

// run keeps the connection up until ctx ends.
func (l *Link) run(ctx context.Context) {
	defer l.disconnect()
	pause, refusedAt := redialMin, time.Duration(0)
	for ctx.Err() == nil {
		main, err := l.connect(ctx, 0)
		if err == nil {
			pause, refusedAt = redialMin, 0
			l.use(ctx, main)
			continue // dial at once: the answer tells a crash from a cut
		}
		if ctx.Err() != nil {
			return
		}
		l.note(ctx, err)
		switch {
		case Refused(err) && l.spoke(): // which of the two it is, is known soon
			pause = min(pause, refusedPause)
		case turnedAway(err):
			if refusedAt == 0 {
				refusedAt = l.mesh.cfg.Clock.Since()
			}
			if l.mesh.cfg.Clock.Since()-refusedAt < refusedSoon {
				pause = min(pause, refusedPause)
			}
		}
		select {
		case <-ctx.Done():
		case <-time.After(pause):
		}
		pause = min(2*pause, redialMax)
	}
}

// note says what a dial that failed tells of the member.
func (l *Link) note(ctx context.Context, err error) {
	members := l.mesh.cfg.Members
	switch {
	case Refused(err) && l.hasClosed():
		members.SetEnded(l.id, "it closed its connections, and new ones are refused at "+l.addr)
	case Refused(err) && (l.spoke() || l.vouched(ctx)):
		l.log.Debug("connection refused, and the member was heard of a moment ago", "address", l.addr)
	case Refused(err):
		members.SetGone(l.id, "connection refused at "+l.addr)
	case errors.Is(err, errOtherBoot):
		members.SetEnded(l.id, err.Error())
	case turnedAway(err):
		l.log.Debug("turned away, trying again", "address", l.addr, "error", err)
		members.Mend(l.id) // gossip misses a member of five once in thirty joins
	default:
		l.log.Debug("no peer link", "address", l.addr, "error", err)
	}
}

// use has main for the link's main connection until it ends.
func (l *Link) use(ctx context.Context, main *peer.Link) {
	l.answered.Store(int64(l.mesh.cfg.Clock.Since()))
	l.mu.Lock()
	l.main = main
	l.mu.Unlock()
	if l.mesh.cfg.Connected != nil {
		l.mesh.cfg.Connected(l.id)
	}
	l.closed.Store(0)
	l.up.Kick()
	l.mesh.cfg.Members.SetBack(l.id)
	l.mesh.cfg.Pulse.Beat()
	l.heartbeats(ctx, main)
	l.disconnect()
}

func (l *Link) disconnect() {
	l.mu.Lock()
	main, bulk := l.main, l.bulk
	l.main, l.bulk = nil, nil
	l.mu.Unlock()
	for _, s := range l.mesh.sections {
		if s.Lost != nil {
			s.Lost(l.id)
		}
	}
	for _, p := range []*peer.Link{main, bulk} {
		if p != nil {
			p.Close()
		}
	}
	l.mesh.cfg.Members.Recheck() // a newer boot of the name may take its place now
}

// heartbeats asks the peer every 200 ms, and whenever the view changes. It
// returns when the connection has ended or fallen silent.
func (l *Link) heartbeats(ctx context.Context, main *peer.Link) {
	tick := time.NewTicker(heartbeatInterval)
	defer tick.Stop()
	since := l.mesh.cfg.Clock.Since
	first, answered := true, since()
	for {
		sent := since()
		err := l.heartbeat(ctx, main, sent)
		if err == nil {
			answered = sent
			l.answered.Store(int64(sent))
			l.setReached(sent)
		}
		if since()-answered > SilentLimit {
			l.log.Warn("peer link is silent, trying a new one", "for", since()-answered)
			l.mesh.linksReplaced.Add(1)
			return
		}
		if err == nil && first {
			first = false
			l.mesh.cfg.Pulse.Beat()
		}
		select {
		case <-ctx.Done():
			return
		case <-main.Done():
			return
		case <-l.beat:
		case <-tick.C:
		}
	}
}

// heartbeat asks once. An answer that cannot be read is one all the same: the
// peer is there.
func (l *Link) heartbeat(ctx context.Context, main *peer.Link, sent time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, heartbeatTimeout)
	defer cancel()
	answer, err := main.Call(ctx, TypeBeat, l.mesh.question())
	if err != nil {
		return err
	}
	if err := l.mesh.answered(l.id, sent, answer); err != nil {
		l.log.Warn("heartbeat is not understood", "error", err)
	}
	return nil
}

// bothWays says whether each of the two members has heartbeats of the other
// over a connection that it has made itself.
func (l *Link) bothWays() bool {
	asked := time.Duration(l.asked.Load())
	return l.Passes() && asked > 0 && l.mesh.cfg.Clock.Since()-asked < lately
}

func (l *Link) setReached(sent time.Duration) {
	l.reached.Store(int64(max(sent, 1)))
	if l.missed.Swap(0) >= unreachedAfter {
		l.mesh.cfg.Members.Recheck()
	}
}

// unreachedAfter is how many heartbeats in a row must have come to nothing for
// a member to be unreached: 5 s. They are counted, and time is not, for a
// process that stood still has not tried.
const unreachedAfter = int64(5 * time.Second / heartbeatInterval)

// miss records that a heartbeat came to nothing, by whatever way.
func (l *Link) miss() {
	if l.missed.Add(1) == unreachedAfter {
		l.mesh.cfg.Members.Recheck()
	}
}

// Unreached says whether nothing has come through to the peer for 5 s.
func (l *Link) Unreached() bool { return l.missed.Load() >= unreachedAfter }

// Reached says whether the peer has answered a heartbeat that was sent within
// the last second, directly or through a third member.
func (l *Link) Reached() bool {
	at := time.Duration(l.reached.Load())
	return at > 0 && l.mesh.cfg.Clock.Since()-at < lately
}

// LastReached is when the newest heartbeat was sent that the peer has answered, by
// any way, since the process's start; 0 for none.
func (l *Link) LastReached() time.Duration { return time.Duration(l.reached.Load()) }

// Relayed says whether the peer is reached, but through a third member alone.
func (l *Link) Relayed() bool { return !l.Passes() && l.Reached() }

// SetHeard says that the peer has given a lease in its answer to a heartbeat
// that was sent at a time since the process's start.
func (l *Link) SetHeard(sent time.Duration) { l.heard.Store(int64(sent)) }

// readClock takes in what the peer's clock has said in an answer that took so
// long. The shorter it took, the better the reading: where either side stood
// still in between, it is off by half of the standstill, and does not take the
// place of a better one.
func (l *Link) readClock(clock time.Time, roundTrip time.Duration) {
	now := l.mesh.cfg.Clock.Since()
	readAt := time.Duration(l.readAt.Load())
	if readAt != 0 && roundTrip > max(goodTrip, 2*time.Duration(l.trip.Load())) && now-readAt < readingLasts {
		return
	}
	l.readAt.Store(max(int64(now), 1))
	l.trip.Store(int64(roundTrip))
	l.offset.Store(int64(clock.Sub(l.mesh.cfg.Clock.Now().Add(-roundTrip / 2))))
}

// Connected says whether the main connection is up.
func (l *Link) Connected() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.main != nil && l.main.Err() == nil
}

// ClockOffset is how far the peer's clock is ahead of this member's.
func (l *Link) ClockOffset() time.Duration { return time.Duration(l.offset.Load()) }

// HostAhead is how far the clock of the peer's host is ahead of the peer's own,
// which is 0 unless that clock jumped.
func (l *Link) HostAhead() time.Duration { return time.Duration(l.hostAhead.Load()) }

// RoundTrip is that of the last good reading of the peer's clock.
func (l *Link) RoundTrip() time.Duration { return time.Duration(l.trip.Load()) }

// LastHeard is when the newest heartbeat was sent that the peer has answered
// with a lease, since the process's start; 0 for never, or not since this
// process stood still. A peer answers without one while it knows of a claim
// that may succeed this member somewhere, and counts as silent meanwhile.
func (l *Link) LastHeard() time.Duration { return time.Duration(l.heard.Load()) }

// HeardLately says whether the peer has answered a heartbeat with a lease that
// was sent within the last second.
func (l *Link) HeardLately() bool {
	heard := l.LastHeard()
	return heard > 0 && l.mesh.cfg.Clock.Since()-heard < lately
}

// Ring returns the fingerprint of the peer's ring as it last said.
func (l *Link) Ring() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.ring
}
