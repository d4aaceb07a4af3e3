package node

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/seed-95a32959/holdfast/internal/ownership"
	"github.com/seed-95a32959/holdfast/internal/wait"
	"github.com/seed-95a32959/holdfast/peer"
)

const (
	heartbeatInterval = 200 * time.Millisecond
	heartbeatTimeout  = time.Second
	dialTimeout       = time.Second
	redialMin         = time.Millisecond
	redialMax         = time.Second
	// silentLimit is how long a connection may leave every heartbeat unanswered
	// before it is given up. After a cut that lasted long, TCP would try it
	// again only after as long once more, while a new one works at once.
	silentLimit = 2 * time.Second
	// relayAfter is how long a member must not have answered before requests
	// for it go through a third one. A member that has crashed is gone or taken
	// over sooner or soon after.
	relayAfter = 700 * time.Millisecond
	// goodTrip is a round trip after which a reading of the peer's clock is
	// always taken, and readingLasts for how long one keeps worse ones out.
	goodTrip     = 50 * time.Millisecond
	readingLasts = 10 * time.Second
)

// Refused says whether a dial failed because the host answered that no process
// listens there: the sign that a member is gone, not merely silent.
func Refused(err error) bool { return errors.Is(err, syscall.ECONNREFUSED) }

var errNoLink = errors.New("no connection to the member")

// link is this member's side of the connections to one boot of one node: a
// main one for requests and heartbeats, and a second one for bulk transfers,
// so that a transfer never stands in a request's way.
type link struct {
	node *Node
	id   ID
	addr string // peer address
	log  *slog.Logger
	beat wait.Wake // send a heartbeat now
	stop context.CancelFunc
	done chan struct{}
	made time.Duration // since the node's start
	// heard is when the newest heartbeat that the peer has answered was sent,
	// in nanoseconds since the node's start, 0 for never.
	heard atomic.Int64
	// offset is how far the peer's clock is ahead, in nanoseconds, give or take
	// half a round trip.
	offset atomic.Int64
	// trip is the round trip by which offset was found, in nanoseconds, and readAt
	// when, since the node's start, which is the heartbeats' own.
	trip   atomic.Int64
	readAt time.Duration
	// subscribed says whether the peer has clients that wait for messages.
	subscribed atomic.Bool
	// full says that the peer has no room for copies that grow.
	full atomic.Bool
	// deaths is how many boots of this member's name the peer has seen end.
	deaths atomic.Int32

	mu          sync.Mutex // guards what follows
	main, bulk  *peer.Link
	bulkDialing chan struct{}
	fingerprint string // of its ring, as it last said
	differs     time.Time
}

func newLink(n *Node, m *Member) *link {
	return &link{
		node: n, id: m.ID, addr: m.Peer, log: n.log.With("member", m.Name),
		beat: wait.NewWake(), done: make(chan struct{}), made: n.since(),
	}
}

// Call implements replication.Peer over the main connection.
func (l *link) Call(ctx context.Context, typ byte, payload []byte) ([]byte, error) {
	l.mu.Lock()
	main := l.main
	l.mu.Unlock()
	if main == nil {
		return nil, fmt.Errorf("%s: %w", l.id.Name, errNoLink)
	}
	return main.Call(ctx, typ, payload)
}

// bulkLink is replication.Peer over the second connection.
type bulkLink struct{ *link }

// Call dials the second connection when it is first needed.
func (b bulkLink) Call(ctx context.Context, typ byte, payload []byte) ([]byte, error) {
	bulk, err := b.connectBulk(ctx)
	if err != nil {
		return nil, err
	}
	return bulk.Call(ctx, typ, payload)
}

func (l *link) connectBulk(ctx context.Context) (*peer.Link, error) {
	for {
		l.mu.Lock()
		if l.main == nil {
			l.mu.Unlock()
			return nil, fmt.Errorf("%s: %w", l.id.Name, errNoLink)
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
			old.Close()
		}
		bulk, err := l.connect(ctx)
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
			return nil, fmt.Errorf("%s: %w", l.id.Name, errNoLink)
		}
		return bulk, err
	}
}

// connect makes one connection and checks that the right boot answers.
func (l *link) connect(ctx context.Context) (*peer.Link, error) {
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	conn, err := l.node.dialPeer(ctx, l.addr)
	if err != nil {
		return nil, err
	}
	cfg := l.node.peerConfig()
	cfg.Wanted = peer.Identity{Name: l.id.Name, Boot: l.id.Boot}
	p, err := peer.Connect(ctx, l.node.counted(conn), cfg)
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

// errOtherBoot says that an address answers as somebody else: the boot that was
// there has ended.
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

// run keeps the connection up until ctx ends. It is what finds a crash: the
// connection breaks the moment the process dies, and the dial that follows at
// once is refused.
func (l *link) run(ctx context.Context) {
	defer close(l.done)
	defer l.disconnect()
	pause, refusedAt := redialMin, time.Duration(0)
	for ctx.Err() == nil {
		main, err := l.connect(ctx)
		if err == nil {
			pause, refusedAt = redialMin, 0
			l.mu.Lock()
			l.main = main
			l.mu.Unlock()
			if l.node.replicator != nil { // a router has none
				l.node.replicator.Retry(l.id.String())
			}
			l.node.members.setBack(l.id)
			l.node.pulse.Beat()
			l.heartbeats(ctx, main)
			l.disconnect()
			continue // dial at once: the answer tells a crash from a cut
		}
		switch {
		case ctx.Err() != nil:
			return
		case Refused(err):
			l.node.members.setGone(l.id, "connection refused at "+l.addr)
		case errors.Is(err, errOtherBoot):
			l.node.members.setGone(l.id, err.Error())
		case turnedAway(err):
			l.log.Debug("turned away, trying again", "address", l.addr, "error", err)
			l.node.mendView(l.id) // gossip misses a member of five once in thirty joins
			if refusedAt == 0 {
				refusedAt = l.node.since()
			}
			if l.node.since()-refusedAt < refusedSoon {
				pause = min(pause, refusedPause)
			}
		default:
			l.log.Debug("no peer link", "address", l.addr, "error", err)
		}
		select {
		case <-ctx.Done():
		case <-time.After(pause):
		}
		pause = min(2*pause, redialMax)
	}
}

func (l *link) disconnect() {
	l.mu.Lock()
	main, bulk := l.main, l.bulk
	l.main, l.bulk = nil, nil
	l.mu.Unlock()
	if l.full.Swap(false) {
		l.node.setCrowded() // nobody knows
	}
	for _, p := range []*peer.Link{main, bulk} {
		if p != nil {
			p.Close()
		}
	}
	l.node.members.wake.Kick() // a newer boot of the name may take its place now
}

// heartbeats asks the peer every 200 ms, and whenever the view changes, how it
// sees the ring. It returns when the connection has ended or fallen silent.
func (l *link) heartbeats(ctx context.Context, main *peer.Link) {
	tick := time.NewTicker(heartbeatInterval)
	defer tick.Stop()
	first, answered := true, l.node.since()
	for {
		sent := l.node.since()
		cctx, cancel := context.WithTimeout(ctx, heartbeatTimeout)
		answer, err := main.Call(cctx, typePing, l.node.ping())
		cancel()
		if err == nil {
			answered = sent
			err = l.answeredBy(answer, sent)
		}
		if l.node.since()-answered > silentLimit {
			l.log.Warn("peer link is silent, trying a new one", "for", l.node.since()-answered)
			return
		}
		if err == nil && first {
			first = false
			l.node.pulse.Beat()
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

// answeredBy takes in the answer to a heartbeat that was sent at the given
// time: first what it says, then the lease that it gives.
func (l *link) answeredBy(answer []byte, sent time.Duration) error {
	beat, err := decodePing(answer)
	var claims *ownership.Table // those in force, where the peer knows others
	if err == nil && beat.table != nil {
		claims, err = ownership.DecodeTable(beat.table)
	}
	if err != nil {
		l.log.Warn("malformed heartbeat", "error", err)
		return err
	}
	l.hear(beat)
	l.deaths.Store(int32(beat.deaths))
	l.readClock(beat.clock, l.node.since()-sent)
	if beat.lease {
		l.heard.Store(int64(sent))
	}
	l.node.owner.step(func(core *ownership.Core, now time.Duration) ownership.Todo {
		return core.Ponged(now, sent, l.id, beat.fingerprint, claims, beat.lease)
	})
	if claims != nil {
		l.node.pulse.Beat()
	}
	return nil
}

// readClock takes in what the peer's clock has said in an answer that took so
// long. A reading is as good as that is short: where either side stood still in
// between it is off by half of the standstill, and does not take the place of a
// better one.
func (l *link) readClock(clock time.Time, roundTrip time.Duration) {
	now := l.node.since()
	if l.readAt != 0 && roundTrip > max(goodTrip, 2*time.Duration(l.trip.Load())) && now-l.readAt < readingLasts {
		return
	}
	l.readAt = now
	l.trip.Store(int64(roundTrip))
	l.offset.Store(int64(clock.Sub(l.node.clock.Now().Add(-roundTrip / 2))))
}

// connected says whether the main connection is up.
func (l *link) connected() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.main != nil && l.main.Err() == nil
}

// clockOffset is how far the peer's clock is ahead of this member's.
func (l *link) clockOffset() time.Duration { return time.Duration(l.offset.Load()) }

// heardLately says whether the peer has answered within the last second.
func (l *link) heardLately() bool {
	heard := l.heard.Load()
	return heard > 0 && l.node.since()-time.Duration(heard) < ownership.LeaseTime
}

// silentFor says whether the peer has answered no heartbeat that was sent within
// the last d.
func (l *link) silentFor(d time.Duration) bool {
	return l.node.since()-max(l.made, time.Duration(l.heard.Load())) > d
}

// ringSeen returns the fingerprint of the peer's ring as it last said.
func (l *link) ringSeen() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.fingerprint
}

// hear takes in what a peer says of its ring. Rings that stay different for
// over a second are the mark of partial views: a join exchanges them whole.
func (l *link) hear(beat heartbeat) {
	l.node.members.setTold(l.id, beat.state)
	l.node.pubsub.setSubscribed(l, beat.subscribed)
	if l.full.Swap(beat.full) != beat.full {
		l.node.setCrowded()
	}
	fingerprint := beat.fingerprint
	ours := l.node.View().Table.Fingerprint()
	now := time.Now()
	l.mu.Lock()
	l.fingerprint = fingerprint
	mend := false
	switch {
	case fingerprint == ours:
		l.differs = time.Time{}
	case l.differs.IsZero():
		l.differs = now
	case now.Sub(l.differs) > time.Second:
		l.differs = now
		mend = true
	}
	l.mu.Unlock()
	if mend {
		l.node.mendView(l.id)
	}
}

// heartbeat is what members tell each other all the time, as question and as
// answer:
//
//	u8 state | u8 deaths | u8 flags | u64 clock, unix ms | u64 hash of the claims in force | u8 length, ring fingerprint | claims
//
// deaths says, in an answer, how many boots of the asker's name have ended
// within the last minute, and the flag 1 that it gives the asker a lease. The
// flag 2 says that the sender has subscribers, and 4 that it has no room for
// copies that grow. The claims follow in an answer to
// a heartbeat with another hash.
type heartbeat struct {
	state       State
	deaths      int
	lease       bool
	subscribed  bool
	full        bool
	clock       time.Time
	claims      uint64
	fingerprint string
	table       []byte
}

const (
	beatLease = 1 << iota
	beatSubscribed
	beatFull
)

func (n *Node) ping() []byte {
	fingerprint := n.View().Table.Fingerprint()
	flags := byte(0)
	if n.pubsub.subscribed() {
		flags |= beatSubscribed
	}
	if n.store != nil && n.store.Full() {
		flags |= beatFull
	}
	b := order.AppendUint64([]byte{byte(n.members.state()), 0, flags}, uint64(n.clock.Now().UnixMilli()))
	b = order.AppendUint64(b, n.owner.gate.ClaimsHash())
	return append(append(b, byte(len(fingerprint))), fingerprint...)
}

// pong answers a heartbeat.
func (n *Node) pong(from ID, ping []byte) ([]byte, error) {
	beat, err := decodePing(ping)
	if err != nil {
		return nil, err
	}
	if l := n.linkTo(from); l != nil {
		l.hear(beat)
	}
	var lease bool
	var claims *ownership.Table
	n.owner.step(func(core *ownership.Core, now time.Duration) (todo ownership.Todo) {
		var differ bool
		if lease, differ, todo = core.Pinged(now, from, beat.fingerprint, beat.claims); differ {
			claims = core.Claims()
		}
		return todo
	})
	answer := n.ping()
	answer[1] = byte(n.members.deathsOf(from.Name))
	if lease {
		answer[2] |= beatLease
	}
	if claims != nil {
		answer = append(answer, claims.Encode()...)
	}
	return answer, nil
}

func decodePing(b []byte) (h heartbeat, err error) {
	const fixed = 3 + 8 + 8 + 1
	if len(b) < fixed || len(b) < fixed+int(b[fixed-1]) || b[0] < byte(StateJoining) || b[0] > byte(StateLeaving) || b[2] > beatLease|beatSubscribed|beatFull {
		return h, fmt.Errorf("heartbeat of %d bytes is malformed", len(b))
	}
	end := fixed + int(b[fixed-1])
	h = heartbeat{
		state: State(b[0]), deaths: int(b[1]), lease: b[2]&beatLease != 0, subscribed: b[2]&beatSubscribed != 0, full: b[2]&beatFull != 0, clock: time.UnixMilli(int64(order.Uint64(b[3:]))),
		claims: order.Uint64(b[11:]), fingerprint: string(b[fixed:end]),
	}
	if rest := b[end:]; len(rest) > 0 {
		h.table = rest
	}
	return h, nil
}

// Frame types of the peer link beside those of replication and door/admin.
const (
	// typePing is the heartbeat.
	typePing byte = 0x01 + iota
	// typeRequest forwards an operation or a batch of commands; see forward.go.
	typeRequest
	// typeClaim claims partitions; see package ownership.
	typeClaim
	_ // admin.TypeHolds
	// typePublish brings messages to subscribers; see pubsub.go.
	typePublish
	// typeWait asks for copies of what was written; see redis.go.
	typeWait
)

var order = binary.BigEndian
