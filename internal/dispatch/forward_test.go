package dispatch

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/seed-95a32959/holdfast/internal/attempt"
	"github.com/seed-95a32959/holdfast/internal/clock"
	"github.com/seed-95a32959/holdfast/internal/command"
	"github.com/seed-95a32959/holdfast/internal/member"
	"github.com/seed-95a32959/holdfast/internal/member/membertest"
	"github.com/seed-95a32959/holdfast/internal/mesh"
	"github.com/seed-95a32959/holdfast/internal/owner"
	"github.com/seed-95a32959/holdfast/internal/ownership"
	"github.com/seed-95a32959/holdfast/internal/peer"
	"github.com/seed-95a32959/holdfast/ring"
	"github.com/seed-95a32959/holdfast/session"
)

// sentinels are all that a forwarded operation may fail with; what the owner
// means must be what the caller understands.
var sentinels = []error{
	session.ErrNotFound, session.ErrDeleted, session.ErrPrecondition, session.ErrType, session.ErrTooLarge, session.ErrKey, session.ErrFull,
	session.ErrNotServed, session.ErrFuture, session.ErrMalformed, session.ErrUnavailable, session.ErrUncertain, errNoOwner, attempt.ErrOtherEpoch,
}

func TestReplyRoundTrip(t *testing.T) {
	n := begin(t, "a")
	for p := range ring.Partitions {
		n.cfg.Store.Open(p)
	}
	rapid.Check(t, func(t *rapid.T) {
		want := reply{Reply: session.Reply{
			Node: anyName.Draw(t, "node"), Ring: rapid.StringN(0, 255, 255).Draw(t, "ring"), Acked: rapid.IntRange(0, 16).Draw(t, "acked"),
			Degraded: rapid.Bool().Draw(t, "degraded"), Unconfirmed: rapid.Bool().Draw(t, "unconfirmed"),
		}}
		var err error
		value := rapid.String().Draw(t, "value")
		want.Result, err = n.cfg.Store.Do(&session.Op{Kind: session.Put, Key: anyName.Draw(t, "key"), Fields: []session.Field{{Name: "f", Value: value}}})
		require.NoError(t, err)

		want.Moved = rapid.SampledFrom([]string{"", "", "{a}new", strings.Repeat("k", session.MaxKey)}).Draw(t, "moved")

		got, err := decodeReply(encodeReply(want, nil))
		require.NoError(t, err)
		require.Equal(t, want.Record.Hash(), got.Record.Hash())
		got.Record, want.Record = nil, nil
		require.Equal(t, want, got)
	})
}

func TestReplyKeepsTheMeaningOfErrors(t *testing.T) {
	t.Parallel()
	for _, sentinel := range sentinels {
		cause := fmt.Errorf("put: %w: because", sentinel)
		got, err := decodeReply(encodeReply(reply{Reply: session.Reply{Node: "a", Ring: "r"}}, cause))
		require.ErrorIs(t, err, sentinel)
		require.EqualError(t, err, cause.Error())
		require.Equal(t, reply{Reply: session.Reply{Node: "a", Ring: "r"}}, got, "an error has an author too")
		for _, other := range sentinels {
			require.Equal(t, other == sentinel, errors.Is(err, other), "%v is not %v", sentinel, other)
		}
	}
	_, err := decodeReply(encodeReply(reply{}, errors.New("something else")))
	require.EqualError(t, err, "something else")
}

// An owner tells where a session was moved, with an error and without, a member
// that asked for somebody passes it on, and an older version is told nothing.
func TestReplyTellsWhereASessionWasMoved(t *testing.T) {
	t.Parallel()
	n := begin(t, "a")
	for p := range ring.Partitions {
		n.cfg.Store.Open(p)
	}
	do := func(op *session.Op) (r reply, err error) {
		r.Result, err = n.cfg.Store.Do(op)
		return r, err
	}
	_, err := do(&session.Op{Kind: session.Put, Key: "{a}was"})
	require.NoError(t, err)
	_, err = do(&session.Op{Kind: session.Rotate, Key: "{a}was", NewKey: "{a}is"})
	require.NoError(t, err)
	for _, op := range []*session.Op{{Kind: session.Get, Key: "{a}was"}, {Kind: session.Rotate, Key: "{a}was", NewKey: "{a}3"}, {Kind: session.Delete, Key: "{a}was"}} {
		for range 2 { // the second time as whoever passes it on
			rep, err := do(op)
			rep.Moved = movedTo(rep, err)
			frame := encodeReply(rep, err)
			rep, err = decodeReply(frame)
			require.Equal(t, "{a}is", movedTo(rep, err), "%s", op.Kind)
			require.Equal(t, op.Kind != session.Delete, errors.Is(err, session.ErrDeleted))
			for cut := range frame[:len(frame)-1] {
				_, err := decodeReply(frame[:cut])
				require.Error(t, err, "%s, %d of %d bytes", op.Kind, cut, len(frame))
			}

			rep, err = do(op)
			rep.Moved = ""
			frame = encodeReply(rep, err)
			require.NotContains(t, string(frame), "{a}is", "%s: for an older version", op.Kind)
			rep, err = decodeReply(frame)
			require.Empty(t, movedTo(rep, err))
			require.Equal(t, op.Kind != session.Delete, errors.Is(err, session.ErrDeleted))
		}
	}
}

// Only members that can read it are told where a session was moved.
func TestOlderMembersAreNotTold(t *testing.T) {
	t.Parallel()
	n := begin(t, "a")
	newer, older := membertest.Up("b", 1), membertest.Up("c", 1)
	older.Older = member.WireMoved - 1
	n.see(t, newer, older)
	for _, c := range []struct {
		to   member.ID
		want string
	}{{newer.ID, "is"}, {older.ID, ""}, {membertest.ID("stranger", 1), ""}} {
		require.Equal(t, c.want, n.told(c.to, reply{}, &session.MovedError{To: "is"}).Moved, c.to.Name)
		require.Equal(t, c.want, n.told(c.to, reply{Reply: session.Reply{Result: session.Result{Moved: "is"}}}, nil).Moved, c.to.Name)
	}
}

// Who refuses for want of a majority is unavailable too, and says which.
func TestReplyOfAMinority(t *testing.T) {
	t.Parallel()
	_, err := decodeReply(encodeReply(reply{}, fmt.Errorf("get: %w", owner.ErrNoMajority)))
	require.ErrorIs(t, err, owner.ErrNoMajority)
	require.ErrorIs(t, err, session.ErrUnavailable)
	_, err = decodeReply(encodeReply(reply{}, fmt.Errorf("get: %w", session.ErrUnavailable)))
	require.NotErrorIs(t, err, owner.ErrNoMajority)
}

// Batches and their answers travel as the bytes that they are.
// A write that may have been made is told as such, whatever has kept its owner
// from knowing: "nothing was changed" would be a lie.
func TestUncertainIsToldAsSuch(t *testing.T) {
	for _, why := range []error{owner.ErrNoMajority, session.ErrUnavailable, session.ErrFull, context.Canceled} {
		err := errorOf(errorCode(fmt.Errorf("%w: %w", session.ErrUncertain, why)), "")
		require.ErrorIs(t, err, session.ErrUncertain, "because of %v", why)
		require.NotErrorIs(t, err, session.ErrUnavailable)
	}
}

func TestBatchRoundTrip(t *testing.T) {
	t.Parallel()
	batch := &command.Batch{Commands: [][][]byte{{[]byte("SET"), []byte("k"), []byte("v")}}, Proto: 3, Key: "k"}
	want := &request{work: &batchWork{Batch: batch, part: ring.Partition("k")}, part: ring.Partition("k"), Attempt: attempt.Attempt{Deadline: time.UnixMilli(5), Sent: time.UnixMilli(2)}}
	got, err := decodeRequest(encodeRequest(want, want.Sent, 0, 0))
	require.NoError(t, err)
	want.hops++
	require.Equal(t, want, got)

	_, err = decodeRequest(encodeRequest(&request{work: &batchWork{Batch: command.FlushBatch(ring.Partitions), part: ring.Partitions}}, time.Time{}, 0, 0))
	require.ErrorIs(t, err, session.ErrMalformed, "no such partition")

	r, err := decodeReply(encodeReply(reply{answers: []byte("+OK\r\n"), commands: true}, nil))
	require.NoError(t, err)
	require.Equal(t, "+OK\r\n", string(r.answers))
}

// An answer of a member whose own forward failed must not look as if the
// operation had been refused for good.
func TestReplyOfVainForwardIsTriedAgain(t *testing.T) {
	t.Parallel()
	for _, err := range []error{errNoOwner, errNotSent, fmt.Errorf("b: %w", mesh.ErrNoLink), session.ErrNotServed} {
		_, got := decodeReply(encodeReply(reply{}, err))
		require.True(t, again(got), "%v", err)
	}
	for _, err := range []error{session.ErrUncertain, session.ErrUnavailable, session.ErrNotFound, session.ErrPrecondition} {
		_, got := decodeReply(encodeReply(reply{}, err))
		require.False(t, again(got), "%v", err)
	}
}

func FuzzDecodeReply(f *testing.F) {
	f.Add(encodeReply(reply{Reply: session.Reply{Node: "a", Ring: "r", Degraded: true}}, nil))
	f.Add(encodeReply(reply{Reply: session.Reply{Node: "a", Ring: "r"}}, session.ErrDeleted))
	f.Add(append([]byte{0, 0, 0, 255}, make([]byte, 300)...))
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := decodeReply(b)
		if err == nil {
			_, err = decodeReply(encodeReply(r, nil))
			require.NoError(t, err)
		}
	})
}

// Only what certainly was not applied, or ends the same when it is applied
// twice, may be run again.
func TestForwardWithoutLink(t *testing.T) {
	t.Parallel()
	n := begin(t, "a")
	l := n.link(membertest.Up("b", 1))
	_, err := n.forward(t.Context(), ownership.Decision{Verdict: ownership.Forward, Owner: l.ID()}, &request{work: opWork{&session.Op{Kind: session.Rotate, Key: "k"}}})
	require.ErrorIs(t, err, errNotSent)
	require.True(t, again(err))
}

func TestRepeatable(t *testing.T) {
	t.Parallel()
	for _, op := range []session.Op{
		{Kind: session.Get}, {Kind: session.Put}, {Kind: session.Patch}, {Kind: session.Touch}, {Kind: session.Delete}, {Kind: session.List}, {Kind: session.DeleteAll}, {Kind: session.Scan},
	} {
		require.True(t, repeatable(&op), op.Kind)
	}
	for _, op := range []session.Op{
		{Kind: session.Rotate}, {Kind: session.Put, Create: true}, {Kind: session.Patch, IfVersion: 4}, {Kind: session.Put, Exists: true},
	} {
		require.False(t, repeatable(&op), op.Kind)
	}
	for _, err := range []error{peer.ErrClosed, context.Canceled, context.DeadlineExceeded} {
		require.True(t, uncertain(fmt.Errorf("call: %w", err)))
	}
	require.False(t, uncertain(peer.ErrNotSent))
	require.False(t, uncertain(mesh.ErrNoLink))
}

func TestRequestRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		key := anyName.Draw(t, "key")
		offset := time.Duration(rapid.Int64Range(-1e6, 1e6).Draw(t, "offset")) * time.Millisecond
		want := &request{
			work: opWork{&session.Op{Kind: session.Touch, Key: key}}, part: ring.Partition(key), hops: rapid.IntRange(0, maxHops).Draw(t, "hops"),
			ack: session.Ack(rapid.IntRange(0, 3).Draw(t, "ack")), Attempt: attempt.Attempt{
				ID: rapid.Uint64().Draw(t, "id"), Deadline: time.UnixMilli(rapid.Int64Range(1e9, 1<<45).Draw(t, "deadline")),
				Repeat: rapid.Bool().Draw(t, "repeat"), Fenced: rapid.Bool().Draw(t, "fenced"),
			},
		}
		want.epoch = rapid.Uint64().Draw(t, "epoch")
		sent := want.Deadline.Add(-serveTimeout)
		b := encodeRequest(want, sent, offset, want.epoch)
		got, err := decodeRequest(b)
		require.NoError(t, err)
		require.Equal(t, want.work, got.work)
		want.hops, want.Deadline, want.Sent = want.hops+1, want.Deadline.Add(offset), sent.Add(offset)
		require.Equal(t, want, got)
		for n := range b {
			_, err := decodeRequest(b[:n])
			require.ErrorIs(t, err, session.ErrMalformed, "first %d of %d bytes", n, len(b))
		}
	})
}

func FuzzDecodeRequest(f *testing.F) {
	f.Add(encodeRequest(&request{work: opWork{putOf("k")}, Attempt: attempt.Attempt{Repeat: true}}, time.Time{}, 0, 0))
	f.Add(make([]byte, requestHeader))
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := decodeRequest(b)
		if err != nil {
			require.ErrorIs(t, err, session.ErrMalformed)
			return
		}
		require.Equal(t, r.work.partition(), r.part)
		require.Less(t, r.part, ring.Partitions)
	})
}

// An attempt that its owner has given up, because nobody waited on the way it had
// come, may have been made: that is no fault of the node.
func TestGivenUpAtItsOwnerIsUncertain(t *testing.T) {
	t.Parallel()
	for _, cause := range []error{context.Canceled, context.DeadlineExceeded} {
		_, err := decodeReply(encodeReply(reply{}, fmt.Errorf("copy out: %w", cause)))
		require.ErrorIs(t, err, session.ErrUncertain)
	}
}

// Every attempt of a batch has a buffer of its own, with other answers in it
// already. What was answered in one is the answer in another, whatever has
// become of the first buffer.
func TestAttemptLogAnswersInEachAttemptsBuffer(t *testing.T) {
	t.Parallel()
	n := serving(t)
	n.serving(ring.Partition("k"), 1)
	again := func(before string) *request {
		w := line("APPEND k v")
		w.dst = append(make([]byte, 0, 64), before...)
		return &request{work: w, part: w.partition(), Attempt: attempt.Attempt{ID: 7, Deadline: n.cfg.Clock.Now().Add(serveTimeout), Repeat: true}}
	}
	first := again("+PONG\r\n")
	rep, err := n.serveOnce(t.Context(), first)
	require.NoError(t, err)
	require.Equal(t, "+PONG\r\n:1\r\n", string(rep.answers))
	copy(rep.answers, "overwritten")

	rep, err = n.serveOnce(t.Context(), again("$1\r\nx\r\n"))
	require.NoError(t, err)
	require.Equal(t, "$1\r\nx\r\n:1\r\n", string(rep.answers), "not appended twice, and behind what was there")
}

// An attempt that a cut network has held back must not be run after what has
// replaced it.
func TestAttemptLogStopsWhatComesAfterItsRepetition(t *testing.T) {
	t.Parallel()
	now := time.UnixMilli(1e12)
	n := begin(t, "a", func(c *Config) { c.Clock = clock.New(func() time.Time { return now }) })
	first := &request{work: opWork{putOf("k")}, Attempt: attempt.Attempt{ID: 7, Deadline: now.Add(serveTimeout)}}
	other := &request{work: opWork{putOf("k")}, Attempt: attempt.Attempt{ID: 8, Deadline: now.Add(serveTimeout)}}
	again := *first
	again.Repeat = true

	require.NoError(t, n.TooLate(first.Attempt))
	require.NoError(t, n.TooLate(again.Attempt))
	require.NoError(t, n.TooLate(again.Attempt), "a repetition may be repeated")
	require.Nil(t, n.attempts.outcome(t.Context(), &again))
	n.attempts.note(&again, reply{}, errNoOwner)
	require.Nil(t, n.attempts.outcome(t.Context(), &again), "it has not been run yet")
	ran := reply{Reply: session.Reply{Node: "a"}}
	listed := ran
	listed.changed = []string{"k"} // which lies in what the attempt gives back
	n.attempts.note(&again, listed, nil)
	n.attempts.note(&again, reply{}, nil)
	require.Equal(t, &outcome{ran, nil}, n.attempts.outcome(t.Context(), &again), "what was run once is not run again")
	require.ErrorIs(t, n.TooLate(first.Attempt), attempt.ErrTooLate)
	require.NoError(t, n.TooLate(other.Attempt))

	now = now.Add(serveTimeout + time.Millisecond)
	require.ErrorIs(t, n.TooLate(other.Attempt), attempt.ErrTooLate, "its writer has given up")
	n.attempts.forget(now)
	require.NotEmpty(t, n.attempts.ids, "what a router has sent lives longer")
	now = now.Add(attempt.Lifetime - serveTimeout)
	n.attempts.forget(now)
	require.Empty(t, n.attempts.ids)
}

// A delete that waits for its copies is repeated where its answer is not heard.
// What somebody has begun meanwhile must outlive the repetition.
func TestRepeatedDeleteEndsWhatWasThereAlone(t *testing.T) {
	t.Parallel()
	n := serving(t)
	do := func(ctx context.Context, text string, id uint64, repeat bool) (string, error) {
		w := line(text)
		r := &request{work: w, part: w.partition(), Attempt: attempt.Attempt{ID: id, Deadline: n.cfg.Clock.Now().Add(serveTimeout), Repeat: repeat}}
		rep, err := n.serveOnce(ctx, r)
		return strings.TrimSpace(string(rep.answers)), err
	}
	_, err := n.commandIn(t.Context(), "SET lock mine")
	require.NoError(t, err)
	ctx, answer := context.WithCancel(t.Context())
	first, again := make(chan string, 1), make(chan string, 1)
	go func() {
		got, err := do(ctx, "DEL lock", 7, false)
		first <- fmt.Sprint(got, err)
	}()
	require.Eventually(t, func() bool { rec := n.cfg.Store.Peek("lock"); return rec.Dead() }, 5*time.Second, time.Millisecond)
	_, err = n.cfg.Store.Do(&session.Op{Kind: session.Put, Key: "lock", Create: true, Fields: []session.Field{{Name: "f", Value: "yours"}}})
	require.NoError(t, err)
	go func() {
		got, err := do(t.Context(), "DEL lock", 7, true)
		again <- fmt.Sprint(got, err)
	}()
	answer()
	require.Equal(t, ":1<nil>", <-first)
	require.Equal(t, ":1<nil>", <-again)
	rec := n.cfg.Store.Peek("lock")
	require.False(t, rec.Dead())
	require.EqualValues(t, 1, n.count.unconfirmed.Load(), "it was not run again, nor waited for another time")
}

func TestAttemptLogIsBounded(t *testing.T) {
	t.Parallel()
	var l attemptLog
	now := time.UnixMilli(1e12)
	for i := range uint64(maxOperations + 10) {
		l.add(attempt.Attempt{ID: i}, now)
	}
	l.add(attempt.Attempt{ID: 1}, now)
	require.Len(t, l.ids, maxOperations)
	require.Equal(t, int64(10), l.unlogged.Load())
	require.True(t, l.stops(attempt.Attempt{ID: 1}))
	l.add(attempt.Attempt{ID: maxOperations + 5000}, now.Add(attempt.Lifetime+1))
	require.Len(t, l.ids, 1, "there is room again when the deadlines are over")
}

// Deletes leave room in the log for repetitions.
func TestAttemptLogKeepsRoomForRepetitions(t *testing.T) {
	t.Parallel()
	var l attemptLog
	now := time.UnixMilli(1e12)
	remove := func(id uint64) {
		l.begin(&request{work: opWork{&session.Op{Kind: session.Delete, Key: "k"}}, Attempt: attempt.Attempt{ID: id}}, now)()
	}
	for i := range uint64(maxOperations) {
		remove(i + 1)
	}
	require.Len(t, l.ids, maxOperations/2)
	require.EqualValues(t, maxOperations/2, l.unlogged.Load())
	require.False(t, l.stops(attempt.Attempt{ID: 1}), "it was not repeated")
	l.add(attempt.Attempt{ID: 1}, now)
	require.True(t, l.stops(attempt.Attempt{ID: 1}))
	l.forget(now.Add(attempt.Lifetime + time.Second))
	require.Zero(t, l.repeats.Load())
}
