package dispatch

import (
	"context"
	"math"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed-95a32959/holdfast/internal/attempt"
	"github.com/seed-95a32959/holdfast/internal/command"
	"github.com/seed-95a32959/holdfast/internal/member/membertest"
	"github.com/seed-95a32959/holdfast/internal/ownership"
	"github.com/seed-95a32959/holdfast/ring"
	"github.com/seed-95a32959/holdfast/session"
)

// serving is a member that owns everything and has a lease, and whose successor
// never answers.
func serving(t *testing.T, change ...func(*Config)) *still {
	n := begin(t, "a", append(change, func(c *Config) { c.RefuseRevive = time.Minute })...)
	n.see(t, membertest.Up("b", 1))
	n.leaseUntil(math.MaxInt64)
	for p := range ring.Partitions {
		n.serving(p, 1)
	}
	return n
}

func line(text string) *batchWork {
	b := &command.Batch{Proto: 2}
	var args [][]byte
	for _, word := range strings.Fields(text) {
		args = append(args, []byte(word))
	}
	b.Commands, b.Key = [][][]byte{args}, string(args[1])
	return &batchWork{Batch: b, part: partitionOf(b)}
}

// command runs one that may wait for copies which nobody takes, for a moment.
func (n *still) command(text string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Millisecond)
	defer cancel()
	return n.commandIn(ctx, text)
}

// commandIn runs one that waits for nobody: it is not cut off on a busy machine.
func (n *still) commandIn(ctx context.Context, text string) (string, error) {
	w := line(text)
	r, err := n.serve(ctx, w.partition(), w, session.AckDefault)
	return strings.TrimSpace(string(r.answers)), err
}

// Who is told that a lock is theirs must not lose it with the owner.
func TestOnlyAnExactWriteWaitsForACopy(t *testing.T) {
	t.Parallel()
	n := serving(t)
	for _, text := range []string{"SET lock mine NX", "SETNX lock2 mine", "holdfast.setexnx lock3 9 mine"} {
		_, err := n.command(text)
		require.ErrorIs(t, err, session.ErrUncertain, text)
		got, err := n.commandIn(t.Context(), text)
		require.NoError(t, err, "a refusal promises nothing")
		require.Contains(t, []string{"$-1", ":0"}, got)
	}
	for _, text := range []string{"SET k v", "HSET h f v", "EXPIRE k 9", "SADD s m"} {
		_, err := n.commandIn(t.Context(), text)
		require.NoError(t, err, text)
	}
	// To renew a lock is a promise as well; but not to write what is none, or
	// is none any more.
	for _, text := range []string{
		"PEXPIRE lock 9000", "EXPIRE lock 9", "EXPIRE lock 99 GT", "EXPIREAT lock 4000000000", "PEXPIREAT lock2 4000000000000", "GETEX lock PX 9000",
		"PERSIST lock", "SET lock mine XX PX 9000", "SET lock mine XX GET", "SET lock mine XX KEEPTTL",
	} {
		_, err := n.command(text)
		require.ErrorIs(t, err, session.ErrUncertain, text)
	}
	for _, text := range []string{
		"PEXPIRE k 9000", "GETEX k PX 9000", "PERSIST k", "SET k v XX PX 9000", "GETEX lock", "TTL lock", "SET lock mine XX NX", "EXPIRE none 9",
		"SET lock mine PX 9000", "PEXPIRE lock 9000", "SET lock mine XX", "INCR lock2n", "SET counter 0",
	} {
		_, err := n.commandIn(t.Context(), text)
		require.NoError(t, err, text)
	}
	n.see(t)
	got, err := n.commandIn(t.Context(), "SET alone mine NX")
	require.NoError(t, err, "there is nobody to wait for")
	require.Equal(t, "+OK", got)
}

// A delete is answered all the same, after it has waited.
func TestADeleteDoesNotWaitForLong(t *testing.T) {
	t.Parallel()
	n := serving(t)
	_, err := n.commandIn(t.Context(), "SET k v")
	require.NoError(t, err)
	got, err := n.command("DEL k")
	require.NoError(t, err)
	require.Equal(t, ":1", got)
	require.EqualValues(t, 1, n.count.unconfirmed.Load())
	got, err = n.commandIn(t.Context(), "SET k v")
	require.NoError(t, err)
	require.Contains(t, got, "-ERR key was deleted a moment ago", "by RESPRefuseRevive")
}

// Where all copies are out of reach no miss is answered, and nothing changed.
func TestUnverifiedPartitionsAnswerNoMissToCommands(t *testing.T) {
	t.Parallel()
	n := serving(t)
	for p := range ring.Partitions {
		n.cfg.Owner.Look(func(core *ownership.Core, _ time.Duration) {
			core.Set(p, ownership.Warm, ownership.Claim{Epoch: 1, By: n.cfg.Self}, true)
		})
	}
	for _, text := range []string{"GET k", "SET k v NX", "HSET k f v"} {
		_, err := n.commandIn(t.Context(), text)
		require.ErrorIs(t, err, session.ErrUnavailable, text)
	}
	got, err := n.commandIn(t.Context(), "SET k v")
	require.NoError(t, err)
	require.Equal(t, "+OK", got)
	got, err = n.commandIn(t.Context(), "GET k")
	require.NoError(t, err)
	require.Equal(t, "$1\r\nv", got)

	// Who has the session wins over what was written without it.
	there := serving(t)
	_, err = there.commandIn(t.Context(), "SET k w")
	require.NoError(t, err)
	_, err = n.serve(t.Context(), ring.Partition("l"), opWork{&session.Op{Kind: session.Put, Key: "l"}}, session.AckAsync)
	require.NoError(t, err)
	_, err = there.serve(t.Context(), ring.Partition("l"), opWork{&session.Op{Kind: session.Put, Key: "l"}}, session.AckAsync)
	require.NoError(t, err)
	for _, key := range []string{"k", "l"} {
		require.Less(t, n.cfg.Store.Peek(key).Rank(), there.cfg.Store.Peek(key).Rank(), key)
		require.Less(t, n.cfg.Store.Peek(key).Rank(), session.Stamp(1<<48), "%s: below all stamps, also of later ones", key)
		require.Equal(t, there.cfg.Store.Peek(key), session.Merge(n.cfg.Store.Peek(key), there.cfg.Store.Peek(key)), key)
	}
}

// In mode majority the other side acknowledges nothing meanwhile, so what this
// one does counts, whatever the other has from before.
func TestWhatIsWrittenUnverifiedCountsInModeMajority(t *testing.T) {
	t.Parallel()
	there := serving(t)
	n := serving(t, func(c *Config) { c.Mode = ownership.Majority })
	n.cfg.Owner.Look(func(core *ownership.Core, _ time.Duration) {
		for p := range ring.Partitions {
			core.Set(p, ownership.Warm, ownership.Claim{Epoch: 1, By: n.cfg.Self}, true)
		}
	})
	for _, owner := range []*still{there, n} {
		_, err := owner.commandIn(t.Context(), "SET k v")
		require.NoError(t, err)
		_, err = owner.serve(t.Context(), ring.Partition("l"), opWork{&session.Op{Kind: session.Put, Key: "l"}}, session.AckAsync)
		require.NoError(t, err)
	}
	for _, key := range []string{"k", "l"} {
		require.Equal(t, n.cfg.Store.Peek(key), session.Merge(there.cfg.Store.Peek(key), n.cfg.Store.Peek(key)), key)
	}
}

// In mode majority no write follows on what is found then, which may be of before
// the last one.
func TestNothingFollowsOnWhatIsUnverifiedInModeMajority(t *testing.T) {
	t.Parallel()
	n := serving(t, func(c *Config) { c.Mode = ownership.Majority })
	for _, text := range []string{"SET k v", "SET gone v"} {
		_, err := n.commandIn(t.Context(), text)
		require.NoError(t, err, text)
	}
	n.cfg.Owner.Look(func(core *ownership.Core, _ time.Duration) {
		for p := range ring.Partitions {
			core.Set(p, ownership.Warm, ownership.Claim{Epoch: 1, By: n.cfg.Self}, true)
		}
	})
	for _, text := range []string{"SET k w XX", "SET k w NX", "APPEND k w", "INCR n"} {
		_, err := n.commandIn(t.Context(), text)
		require.ErrorIs(t, err, session.ErrUnavailable, text)
	}
	_, err := n.serve(t.Context(), ring.Partition("k"), opWork{&session.Op{Kind: session.Put, Key: "k", IfVersion: n.cfg.Store.Peek("k").Version()}}, session.AckAsync)
	require.ErrorIs(t, err, session.ErrUnavailable)
	// An answer that cannot be marked tells of nothing that is found either.
	for _, text := range []string{"GET k", "GETEX k EX 9", "EXISTS k", "TTL k", "EXPIRE k 9"} {
		_, err := n.commandIn(t.Context(), text)
		require.ErrorIs(t, err, session.ErrUnavailable, text)
	}
	r, err := n.serve(t.Context(), ring.Partition("k"), opWork{&session.Op{Kind: session.Get, Key: "k"}}, session.AckAsync)
	require.NoError(t, err)
	require.True(t, r.Degraded)
	got, err := n.commandIn(t.Context(), "SET k w")
	require.NoError(t, err)
	require.Equal(t, "+OK", got)
	got, err = n.command("DEL gone")
	require.NoError(t, err)
	require.Equal(t, ":1", got)
}

// A repetition that is refused says nothing of the attempt before it, which may
// have been run where the copies are that are out of reach. Neither must what
// the refusal was be found in the error, of which others judge.
func TestRefusedRepetitionIsUncertain(t *testing.T) {
	t.Parallel()
	n := serving(t)
	p := ring.Partition("k")
	n.cfg.Owner.Look(func(core *ownership.Core, _ time.Duration) {
		core.Set(p, ownership.Warm, ownership.Claim{Epoch: 1, By: n.cfg.Self}, true)
	})
	do := func(kind session.Kind, repeat bool) error {
		now := n.cfg.Clock.Now()
		_, err := n.do(t.Context(), opWork{&session.Op{Kind: kind, Key: "k"}}, session.AckDefault, attempt.Attempt{Sent: now, Fenced: true, Repeat: repeat})
		return err
	}
	require.ErrorIs(t, do(session.Patch, false), session.ErrUnavailable)
	again := do(session.Patch, true)
	require.ErrorIs(t, again, session.ErrUncertain)
	require.NotErrorIs(t, again, session.ErrUnavailable)
	require.ErrorIs(t, do(session.Get, true), session.ErrUnavailable, "a read changes nothing")
}

// A repetition of a write that is refused for what it finds may repeat one that
// was made, of a session that was ended since.
func TestRepetitionThatFindsNothingIsUncertain(t *testing.T) {
	t.Parallel()
	n := serving(t)
	do := func(op *session.Op, repeat bool) error {
		now := n.cfg.Clock.Now()
		_, err := n.do(t.Context(), opWork{op}, session.AckDefault, attempt.Attempt{ID: 7, Sent: now, Deadline: now.Add(time.Second), Fenced: true, Repeat: repeat})
		return err
	}
	fields := []session.Field{{Name: "f", Value: "1"}}
	require.ErrorIs(t, do(&session.Op{Kind: session.Patch, Key: "k", Fields: fields}, false), session.ErrNotFound)
	for range 2 {
		again := do(&session.Op{Kind: session.Patch, Key: "k", Fields: fields}, true)
		require.ErrorIs(t, again, session.ErrUncertain)
		require.NotErrorIs(t, again, session.ErrNotFound)
	}
	require.NoError(t, do(&session.Op{Kind: session.Put, Key: "k", Fields: fields}, true), "it is made now, whatever was before")
	require.NoError(t, do(&session.Op{Kind: session.Put, Key: "l", Fields: fields}, false))
	require.NoError(t, do(&session.Op{Kind: session.Delete, Key: "l"}, false))
	require.ErrorIs(t, do(&session.Op{Kind: session.Put, Key: "l", Fields: fields}, false), session.ErrDeleted)
}

// mute is a peer that never answers.
type mute struct{}

func (mute) ReadsMoved() bool { return true }
func (mute) ListsPages() bool { return true }

func (mute) Call(ctx context.Context, _ byte, _ []byte) ([]byte, error) {
	<-ctx.Done()
	return nil, ctx.Err()
}

// While the only copy of a partition is far behind, what exists in it can be
// written, and logouts pass. Other partitions take new sessions.
func TestLagRefusesNewKeys(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := begin(t, "a")
		view := n.see(t, membertest.Up("b", 1), membertest.Up("c", 1))
		n.leaseUntil(math.MaxInt64)
		keys := make(map[string][]string) // of partitions that a owns, by the holder of the copy
		for p := range ring.Partitions {
			if view.Table.Owner(p) == "a" {
				n.serving(p, 1)
				holder := view.Table.FirstSuccessor(p)
				keys[holder] = append(keys[holder], membertest.KeyIn(p))
			}
		}
		behind, old := keys["b"][0], keys["b"][1]
		n.cfg.Replicator.Attach(t.Context(), membertest.ID("b", 1).String(), mute{})
		defer n.cfg.Replicator.Close()
		_, err := n.commandIn(t.Context(), "SET "+old+" v")
		require.NoError(t, err)
		time.Sleep(lagRefuse + time.Second)
		n.look()
		n.lag.silent.Store(nil) // the links of this test connect to nobody
		admit := func(text string) error {
			w := line(text)
			return n.admit(t.Context(), w.partition(), w)
		}
		require.ErrorIs(t, admit("SET "+behind+" v"), session.ErrFull)
		require.ErrorIs(t, admit("HSET "+behind+" f v"), session.ErrFull)
		require.NoError(t, admit("SET "+old+" v"))
		require.NoError(t, admit("EXPIRE "+behind+" 9"))
		require.NoError(t, admit("DEL "+behind))
		require.NoError(t, admit("SET "+keys["c"][0]+" v"), "its copy is elsewhere")

		n.lag.silent.Store(&map[string]bool{membertest.ID("b", 1).String(): true})
		require.Equal(t, []string{membertest.ID("b", 1).String(), membertest.ID("c", 1).String()}, n.holders(ring.Partition(behind)), "c stands in for b")
		require.Equal(t, []string{membertest.ID("c", 1).String()}, n.holders(ring.Partition(keys["c"][0])))
		require.NoError(t, admit("SET "+behind+" v"), "where there is no lag")
		n.lag.silent.Store(&map[string]bool{membertest.ID("b", 1).String(): true, membertest.ID("c", 1).String(): true})
		require.ErrorIs(t, admit("SET "+behind+" v"), session.ErrFull, "nobody can hold it")
	})
}

// during is work in the middle of which something happens.
type during struct {
	work
	happens func()
}

func (w during) run(ctx context.Context, d *Dispatcher, at time.Time, s sight) (reply, error) {
	r, err := w.work.run(ctx, d, at, s)
	w.happens()
	return r, err
}

// Nothing is run without a lease, and nothing answered that has lost it on the
// way.
func TestWorkWithoutALease(t *testing.T) {
	t.Parallel()
	n := serving(t)
	n.leaseUntil(0)
	for _, text := range []string{"SET k v", "INCR k", "GET k"} {
		_, err := n.commandIn(t.Context(), text)
		require.ErrorIs(t, err, session.ErrNotServed, text)
	}
	require.Nil(t, n.cfg.Store.Peek("k"))

	written := reply{changed: []string{"k"}}
	_, err := n.overtaken(line("SET k v").partition(), line("SET k v"), written)
	require.ErrorIs(t, err, session.ErrNotServed, "it is run again where there is a lease")
	_, err = n.overtaken(line("INCR k").partition(), line("INCR k"), written)
	require.ErrorIs(t, err, session.ErrUncertain, "it would count twice")
}

// Who claims a partition is told of all that was written before, so what was
// written is answered. What was read may be older than what the claimant has
// written since.
func TestWorkWhosePartitionIsGivenUpMeanwhile(t *testing.T) {
	t.Parallel()
	n := serving(t)
	do := func(text string) (reply, error) {
		w := line(text)
		n.serving(w.partition(), 1)
		return n.serve(t.Context(), w.partition(), during{w, func() { n.stand(w.partition(), ownership.Away, ownership.Claim{Epoch: 2, By: membertest.ID("b", 1)}) }}, session.AckDefault)
	}
	r, err := do("INCR k")
	require.NoError(t, err, "it is in what the claimant is told")
	require.Equal(t, ":1", strings.TrimSpace(string(r.answers)))
	_, err = do("GET k")
	require.ErrorIs(t, err, session.ErrNotServed, "it is read again where it is served")
}

// A write in the middle of which its owner was succeeded is made again by the
// successor. Where that one cannot, it is not told as one that was not made.
func TestWriteThatWasOvertakenIsUncertain(t *testing.T) {
	t.Parallel()
	n := serving(t)
	w := during{opWork{putOf("k")}, func() {
		n.leaseUntil(0)
		n.cfg.Owner.Look(func(core *ownership.Core, _ time.Duration) {
			core.Set(ring.Partition("k"), ownership.Away, ownership.Claim{Epoch: 2, By: membertest.ID("b", 1)}, false)
		})
	}}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	_, err := n.do(ctx, w, session.AckAsync, attempt.Attempt{})
	require.ErrorIs(t, err, session.ErrUncertain)
	require.NotErrorIs(t, err, session.ErrUnavailable)
	require.NotNil(t, n.cfg.Store.Peek("k"))
}
