package mesh

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/seed-95a32959/holdfast/internal/member"
	"github.com/seed-95a32959/holdfast/internal/peer"
	"github.com/seed-95a32959/holdfast/internal/planted"
)

// A request goes through a third member where the direct connection does not
// answer: a cut between two members makes nothing unreachable that a third one
// reaches. It is as if the network had found another way, for every kind of
// frame: heartbeats, and so leases, claims, copies, comparisons and operations.
// Nothing above this package knows the difference.
//
//	TypeRelay    to the third member:  u8 1 for bulk | u8 length, target | u8 type | payload
//	TypeRelayed  from it to the target: u8 length, origin | u8 type | payload
//
// The target answers the third member as it would answer the origin, and this
// is what the third member answers to the origin:
//
//	u8 what became of it | answer, or the text of a failure
//
// It passes a request on over its own direct connection or not at all, so a
// request has two hops at most. Members believe each other whom a request is
// from, as far as they know that one as a member.
const (
	relayAnswered   byte = iota // an answer follows
	relayFailed                 // the target has failed the request
	relayNotSent                // the third member does not reach the target either
	relayUnanswered             // it was sent, and there was no answer
)

const (
	// relayAfter is for how long a direct connection must not have answered a
	// heartbeat before requests go another way. A member that has crashed is
	// gone or taken over sooner or soon after.
	relayAfter = 700 * time.Millisecond
	// relayPause is for how long requests are not offered to third members again
	// after all of them have said that they do not reach the target: it is
	// silent, not cut off.
	relayPause = 200 * time.Millisecond
)

// Passes says whether the direct connection answers.
func (l *Link) Passes() bool {
	return l.Connected() && l.mesh.cfg.Clock.Since()-time.Duration(l.answered.Load()) < relayAfter
}

// call asks the peer, directly or through a third member.
func (l *Link) call(ctx context.Context, typ byte, payload []byte, bulk bool) ([]byte, error) {
	if !l.Passes() {
		if answer, err := l.relay(ctx, typ, payload, bulk); !errors.Is(err, errNoRelay) {
			return answer, err
		}
	}
	if bulk {
		return l.directBulk(ctx, typ, payload)
	}
	return l.direct(ctx, typ, payload)
}

// errNoRelay says that no third member reaches the peer, and that nothing was
// sent to it.
var errNoRelay = errors.New("no third member reaches the member")

// relay asks the peer through a third member.
func (l *Link) relay(ctx context.Context, typ byte, payload []byte, bulk bool) ([]byte, error) {
	m := l.mesh
	if until := time.Duration(l.noRelay.Load()); until > 0 && m.cfg.Clock.Since() < until {
		return nil, errNoRelay
	}
	thirds := l.thirds()
	for _, third := range thirds {
		answer, err := l.through(ctx, third, typ, payload, bulk)
		if errors.Is(err, errNoRelay) {
			continue
		}
		if err == nil {
			l.via.Store(third)
		}
		m.relayed.Add(1)
		return answer, err
	}
	if len(thirds) > 0 {
		l.noRelay.Store(int64(m.cfg.Clock.Since() + relayPause))
	}
	return nil, errNoRelay
}

// thirds returns the links to the members that may reach the peer, the one that
// did last before the others.
func (l *Link) thirds() (thirds []*Link) {
	if planted.Is(planted.NoRelay) || !l.mesh.Speaks(l.id, member.WireRelays) {
		return nil
	}
	last := l.via.Load()
	for _, third := range l.mesh.Links() {
		switch {
		case third == l || !third.Passes() || !l.mesh.cfg.Members.View().Up(third.id) || !l.mesh.Speaks(third.id, member.WireRelays):
		case third == last:
			thirds = slices.Insert(thirds, 0, third)
		default:
			thirds = append(thirds, third)
		}
	}
	return thirds
}

// through asks the peer through one third member.
func (l *Link) through(ctx context.Context, third *Link, typ byte, payload []byte, bulk bool) ([]byte, error) {
	target := l.id.String()
	frame := make([]byte, 0, 3+len(target)+len(payload))
	frame = append(frame, 0, byte(len(target)))
	if bulk {
		frame[0] = 1
	}
	frame = append(append(append(frame, target...), typ), payload...)
	ask := third.direct
	if bulk {
		ask = third.directBulk
	}
	answer, err := ask(ctx, TypeRelay, frame)
	var failed *peer.RemoteError
	switch {
	case errors.Is(err, peer.ErrNotSent), errors.Is(err, ErrNoLink), errors.As(err, &failed):
		return nil, fmt.Errorf("%w: %w", errNoRelay, err)
	case err != nil:
		return nil, fmt.Errorf("%s, through %s: %w", l.id.Name, third.id.Name, err)
	case len(answer) == 0 || answer[0] == relayNotSent:
		return nil, errNoRelay
	case answer[0] == relayAnswered:
		return answer[1:], nil
	case answer[0] == relayFailed:
		return nil, &peer.RemoteError{Text: string(answer[1:])}
	default:
		return nil, fmt.Errorf("%s, through %s: %w: it had no answer", l.id.Name, third.id.Name, peer.ErrClosed)
	}
}

// passOn asks the target of a request on behalf of its origin.
func (m *Mesh) passOn(r *peer.Request) {
	bulk, target, rest, ok := readRelay(r.Payload)
	if !ok {
		r.Fail(fmt.Errorf("request to pass on, of %d bytes: a target and a type are accepted", len(r.Payload)))
		return
	}
	l := m.Link(target)
	if l == nil || !l.Passes() || !m.Speaks(target, member.WireRelays) {
		r.Reply([]byte{relayNotSent})
		return
	}
	origin := member.ID{Name: r.From.Name, Boot: r.From.Boot}.String()
	frame := append(append(append(make([]byte, 0, 1+len(origin)+len(rest)), byte(len(origin))), origin...), rest...)
	ask := l.direct
	if bulk {
		ask = l.directBulk
	}
	ctx := r.Awaited()
	if !m.Apart(func() { r.Reply(relayAnswer(ask(ctx, TypeRelayed, frame))) }) {
		r.Reply([]byte{relayNotSent})
	}
}

// relayAnswer is what the origin is told of the target's answer.
func relayAnswer(answer []byte, err error) []byte {
	var failed *peer.RemoteError
	switch {
	case err == nil:
		return append([]byte{relayAnswered}, answer...)
	case errors.As(err, &failed):
		return append([]byte{relayFailed}, failed.Text...)
	case errors.Is(err, peer.ErrNotSent), errors.Is(err, ErrNoLink):
		return []byte{relayNotSent}
	default:
		return []byte{relayUnanswered}
	}
}

func readRelay(b []byte) (bulk bool, target member.ID, rest []byte, ok bool) {
	if len(b) == 0 {
		return false, target, nil, false
	}
	target, rest, ok = readID(b[1:])
	return b[0] == 1, target, rest, ok && len(rest) > 0
}

func readID(b []byte) (id member.ID, rest []byte, ok bool) {
	if len(b) == 0 || len(b) < 1+int(b[0]) {
		return id, nil, false
	}
	id, err := member.ParseID(string(b[1 : 1+int(b[0])]))
	return id, b[1+int(b[0]):], err == nil
}

// deliver serves a request that a third member has passed on, as if its origin
// had sent it.
func (m *Mesh) deliver(r *peer.Request) {
	id, rest, ok := readID(r.Payload)
	if !ok || len(rest) == 0 || rest[0] == TypeRelay || rest[0] == TypeRelayed {
		r.Fail(fmt.Errorf("request passed on by %s, of %d bytes: an origin and a type are accepted", r.From.Name, len(r.Payload)))
		return
	}
	view := m.cfg.Members.View()
	who := view.Member(id)
	if who == nil || view.HasEnded(id) {
		r.Fail(fmt.Errorf("request of %s, passed on by %s: not a member here", id.Name, r.From.Name))
		return
	}
	if m.cfg.Limits != nil {
		if limit, _ := m.cfg.Limits(rest[0]); len(rest)-1 > limit {
			r.Fail(fmt.Errorf("request of type %#x has %d bytes, want at most %d", rest[0], len(rest)-1, limit))
			return
		}
	}
	r.From.Name, r.From.Boot, r.From.Role = id.Name, id.Boot, string(who.Role)
	r.Type, r.Payload = rest[0], rest[1:]
	m.serve(r)
}

// relayBeats sends the heartbeats of a link while its direct connection does
// not answer.
func (l *Link) relayBeats(ctx context.Context) {
	tick := time.NewTicker(heartbeatInterval)
	defer tick.Stop()
	told := false // of this outage
	for {
		select {
		case <-ctx.Done():
			return
		case <-l.relayBeat:
		case <-tick.C:
		}
		if l.Passes() {
			if told {
				l.log.Info("the direct connection answers again")
			}
			told = false
			continue
		}
		if !told && l.Relayed() && l.mesh.cfg.Clock.Since()-time.Duration(l.answered.Load()) > SilentLimit {
			told = true
			l.log.Warn("reached through a third member alone: does a firewall stand between the two?", "address", l.addr)
		}
		sent := l.mesh.cfg.Clock.Since()
		err := l.beatThroughThird(ctx, sent)
		if err != nil && !l.Passes() {
			l.miss()
		}
		if err != nil && ctx.Err() == nil {
			l.log.Debug("no heartbeat through a third member", "error", err)
		}
	}
}

func (l *Link) beatThroughThird(ctx context.Context, sent time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, heartbeatTimeout)
	defer cancel()
	answer, err := l.relay(ctx, TypeBeat, l.mesh.question(), false)
	if err != nil {
		return err
	}
	l.setReached(sent)
	l.mesh.cfg.Members.SetBack(l.id) // if dials were refused before a third member could be asked
	return l.mesh.answered(l.id, sent, answer)
}

// vouchLimit bounds how long third members are asked whether a process lives
// that has refused a connection of this one.
const vouchLimit = 300 * time.Millisecond

// vouched says whether the process lives though its address has refused this
// member: a third member has an answer of it. A firewall refuses too.
func (l *Link) vouched(ctx context.Context) (alive bool) {
	ctx, cancel := context.WithTimeout(ctx, vouchLimit)
	defer cancel()
	var mu sync.Mutex // guards alive
	var asking sync.WaitGroup
	for _, third := range l.thirds() {
		asking.Go(func() {
			if _, err := l.through(ctx, third, TypeBeat, l.mesh.question(), false); err == nil {
				mu.Lock()
				defer mu.Unlock()
				alive = true
				cancel() // one is enough
			}
		})
	}
	asking.Wait()
	return alive
}
