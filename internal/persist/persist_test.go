package persist

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"pgregory.net/rapid"

	"github.com/seed-95a32959/holdfast/internal/clock"
	"github.com/seed-95a32959/holdfast/internal/disk"
	"github.com/seed-95a32959/holdfast/internal/disk/disktest"
	"github.com/seed-95a32959/holdfast/internal/events"
	"github.com/seed-95a32959/holdfast/session"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const partitions = 2

// kept is a store that is kept on a disk.
type kept struct {
	*Persister
	store   *session.Store
	journal *disk.Journal
	now     *time.Time
}

type config struct {
	now    *time.Time // nil for the clock of a bubble
	memory int64
	sync   Sync
}

// begin opens a directory, and returns what it had.
func begin(t require.TestingT, dir disk.FS, c config) (*kept, Loaded, error) {
	now := time.Now
	if c.now != nil {
		now = func() time.Time { return *c.now }
	}
	store, err := session.NewStore(session.Config{
		Partitions: partitions, PartitionOf: func(key string) int { return int(key[0]) % partitions }, TagOf: func(key string) (string, bool) { return key, false },
		Now: now, MemoryLimit: c.memory,
	})
	require.NoError(t, err)
	journal, err := disk.Open(dir, disk.Identity{Cluster: "holdfast", Name: "ada"})
	require.NoError(t, err)
	k := &kept{store: store, journal: journal, now: c.now}
	k.Persister = New(Config{
		Journal: journal, Store: store, Partitions: partitions, Sync: c.sync,
		Clock: clock.New(now), Log: slog.New(slog.DiscardHandler), Events: events.New(now),
	})
	found, err := k.Load()
	for p := range partitions {
		store.Open(p)
	}
	return k, found, err
}

func mustBegin(t require.TestingT, dir disk.FS, c config) *kept {
	k, _, err := begin(t, dir, c)
	require.NoError(t, err)
	return k
}

func (k *kept) put(t require.TestingT, key, value string, ttl time.Duration) {
	_, err := k.store.Do(&session.Op{Kind: session.Put, Key: key, TTL: ttl, Revive: true, Fields: []session.Field{{Name: "v", Value: value}}})
	require.NoError(t, err)
}

func (k *kept) remove(t require.TestingT, key string) {
	_, err := k.store.Do(&session.Op{Kind: session.Delete, Key: key})
	require.NoError(t, err)
}

// value returns what a client is told of a key, "" for nothing.
func (k *kept) value(key string) string {
	res, err := k.store.Do(&session.Op{Kind: session.Get, Key: key})
	if err != nil {
		return ""
	}
	v, _ := res.Record.Value("v")
	return v
}

// rewriteNow writes a new base, and puts it in force.
func (k *kept) rewriteNow(t require.TestingT) {
	var r rewriting
	k.beginRewrite(context.Background(), &r)
	k.endRewrite(&r, <-r.done)
	require.NoError(t, k.Err())
}

// What was written when the process ended is there again, whatever came and went,
// and however often the base was written anew meanwhile; what had ended is not.
func TestWhatWasWrittenIsThereAgain(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		now := time.UnixMilli(1e12)
		dir := disktest.New()
		k := mustBegin(t, dir, config{now: &now})
		keys := []string{"a1", "a2", "a3", "b1", "b2"}
		key := rapid.SampledFrom(keys)
		var r rewriting
		for n := range rapid.IntRange(1, 60).Draw(t, "steps") {
			switch rapid.SampledFrom([]string{"put", "put", "put", "short", "delete", "rotate", "expire", "time", "drop", "flush", "rewrite", "end of rewrite", "start"}).Draw(t, "what") {
			case "put":
				k.put(t, key.Draw(t, "key"), fmt.Sprint(n), time.Hour)
			case "short":
				k.put(t, key.Draw(t, "key"), fmt.Sprint(n), time.Second)
			case "delete":
				k.remove(t, key.Draw(t, "key"))
			case "rotate":
				old := key.Draw(t, "key")
				_, _ = k.store.Do(&session.Op{Kind: session.Rotate, Key: old, NewKey: old[:1] + fmt.Sprint("new", n)}) // that there is none is part of it
				keys = append(keys, old[:1]+fmt.Sprint("new", n))
			case "expire":
				_, _ = k.store.Do(&session.Op{Kind: session.Touch, Key: key.Draw(t, "key"), TTL: time.Second})
			case "time":
				now = now.Add(700 * time.Millisecond)
			case "drop":
				k.store.Drop(rapid.IntRange(0, partitions-1).Draw(t, "partition"))
			case "flush":
				require.True(t, k.turn(rapid.Bool().Draw(t, "sync")))
			case "rewrite":
				if r.done == nil {
					require.True(t, k.turn(false))
					k.beginRewrite(context.Background(), &r)
				}
			case "end of rewrite":
				if r.done != nil {
					k.endRewrite(&r, <-r.done)
				}
			case "start":
				require.True(t, k.turn(false))
				if r.done != nil {
					<-r.done
					r = rewriting{}
				}
				before := k
				dir = dir.Killed()
				k = mustBegin(t, dir, config{now: &now})
				for _, key := range keys {
					require.Equal(t, before.value(key), k.value(key), key)
				}
				for p := range partitions {
					require.False(t, k.store.HasUnsaved(p), "what comes from the disk need not be written to it")
				}
			}
			require.NoError(t, k.Err())
		}
		if r.done != nil {
			<-r.done
		}
	})
}

// A session whose end was brought forward, and came while the process was down,
// is not there in the state before.
func TestWhatHasEndedMeanwhileStaysSo(t *testing.T) {
	t.Parallel()
	now := time.UnixMilli(1e12)
	dir := disktest.New()
	k := mustBegin(t, dir, config{now: &now})
	k.put(t, "a", "1", time.Hour)
	require.True(t, k.turn(true))
	k.put(t, "a", "2", time.Second)
	require.True(t, k.turn(true))
	now = now.Add(2 * time.Second)
	again, found, err := begin(t, dir.Killed(), config{now: &now})
	require.NoError(t, err)
	require.Empty(t, again.value("a"))
	require.Equal(t, 1, found.Ended)
	require.Zero(t, found.Records)
}

// A logout stays one, also where memory was too short to hold its key, and the
// base was written anew since.
func TestLogoutsStayWhereTombstonesAreCompacted(t *testing.T) {
	t.Parallel()
	now := time.UnixMilli(1e12)
	dir := disktest.New()
	c := config{now: &now, memory: 64 << 10}
	k := mustBegin(t, dir, c)
	var copies []*session.Record
	key := func(i int) string { return fmt.Sprintf("a-%064d", i) }
	const n = 2000
	for i := range n {
		k.put(t, key(i), "1", time.Hour)
		copies = append(copies, k.store.Peek(key(i)))
		k.remove(t, key(i))
		now = now.Add(time.Millisecond)
	}
	require.True(t, k.store.Compacted(int('a')%partitions), "there was no room for all")
	require.True(t, k.turn(true))
	k.rewriteNow(t)
	k.rewriteNow(t) // of which the first has them from the log, and the second from the first
	again := mustBegin(t, dir.Killed(), config{now: &now})
	for i, rec := range copies {
		_, _ = again.store.Merge(rec)
		if k.store.IsCompacted(key(i)) {
			require.Empty(t, again.value(key(i)), "a copy brings it back")
		}
	}
}

// What needs more memory than there is, and what is ahead of the clock, ends the
// start, and is there when that is mended.
func TestLoadRefuses(t *testing.T) {
	t.Parallel()
	now := time.UnixMilli(1e12)
	dir := disktest.New()
	k := mustBegin(t, dir, config{now: &now})
	for i := range 100 {
		k.put(t, fmt.Sprint("a", i), fmt.Sprintf("%01000d", i), time.Hour)
	}
	require.True(t, k.turn(true))
	require.NoError(t, k.journal.Close())
	k, _, err := begin(t, dir, config{now: &now, memory: 50 << 10})
	require.ErrorIs(t, err, session.ErrFull)
	require.NoError(t, k.journal.Close())
	past := now.Add(-time.Hour)
	k, _, err = begin(t, dir, config{now: &past})
	require.ErrorIs(t, err, session.ErrFuture)
	require.NoError(t, k.journal.Close())
	_, found, err := begin(t, dir, config{now: &now})
	require.NoError(t, err)
	require.Equal(t, 100, found.Records)
}

// run runs the persister until the test ends it.
func (k *kept) run(t *testing.T) (stop func()) {
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() { k.Run(ctx) })
	return func() { cancel(); running.Wait() }
}

// Of a loss of power everysec loses a second, always nothing that was waited for;
// of the end of the process everysec loses next to nothing.
func TestWhatIsLost(t *testing.T) {
	for name, c := range map[string]struct {
		sync         Sync
		killed, lost time.Duration // what was written so long before is there
	}{
		"everysec": {EverySecond, 2 * flushEvery, syncEvery + 2*flushEvery},
		"always":   {Always, 0, 0},
	} {
		synctest.Test(t, func(t *testing.T) {
			dir := disktest.New()
			k := mustBegin(t, dir, config{sync: c.sync})
			stop := k.run(t)
			defer stop()
			random := rand.New(rand.NewPCG(1, 2))
			for i := range 200 {
				key := fmt.Sprint("a", i)
				k.put(t, key, "1", time.Hour)
				if c.sync == Always {
					require.NoError(t, k.Wait(t.Context()))
				}
				time.Sleep(c.lost)
				synctest.Wait()
				require.Equal(t, "1", mustBegin(t, dir.Crashed(random), config{}).value(key), name)

				k.put(t, key, "2", time.Hour)
				if c.sync == Always {
					require.NoError(t, k.Wait(t.Context()))
				}
				time.Sleep(c.killed)
				synctest.Wait()
				require.Equal(t, "2", mustBegin(t, dir.Killed(), config{}).value(key), name)
			}
		})
	}
}

// What is left is written when the node stops.
func TestStopWritesWhatIsLeft(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := disktest.New()
		k := mustBegin(t, dir, config{sync: Never})
		stop := k.run(t)
		time.Sleep(flushEvery / 2)
		k.put(t, "a", "1", time.Hour)
		stop()
		require.Equal(t, "1", mustBegin(t, dir.Crashed(rand.New(rand.NewPCG(1, 2))), config{}).value("a"))
	})
}

// A disk that hangs in a sync counts as behind, and what has changed meanwhile is
// written when it goes on, even if the node is about to stop.
func TestDiskThatHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := disktest.New()
		k := mustBegin(t, dir, config{sync: EverySecond})
		stop := k.run(t)
		time.Sleep(time.Minute)
		require.Zero(t, k.Behind())
		release := dir.Hang()
		k.put(t, "a", "1", time.Hour)
		time.Sleep(time.Minute)
		require.InDelta(t, time.Minute, k.Behind(), float64(syncEvery+flushEvery))
		k.put(t, "a", "2", time.Hour)
		stopped := make(chan struct{})
		go func() { defer close(stopped); stop() }()
		synctest.Wait()
		release()
		<-stopped
		require.Zero(t, k.Behind())
		require.Equal(t, "2", mustBegin(t, dir.Killed(), config{}).value("a"))
	})
}

// After a failure nothing more is written, whoever waits hears of it, and what
// is not on the disk counts as behind.
func TestDiskThatFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := disktest.New()
		k := mustBegin(t, dir, config{sync: Always})
		stop := k.run(t)
		defer stop()
		k.put(t, "a", "1", time.Hour)
		require.NoError(t, k.Wait(t.Context()))
		require.NoError(t, k.Err())
		dir.FailAfter(0, io.ErrShortWrite)
		k.put(t, "a", "2", time.Hour)
		require.ErrorIs(t, k.Wait(t.Context()), io.ErrShortWrite)
		require.ErrorIs(t, k.Err(), io.ErrShortWrite)
		dir.FailAfter(-1, nil)
		k.put(t, "a", "3", time.Hour)
		require.ErrorIs(t, k.Wait(t.Context()), io.ErrShortWrite, "it is not tried again")
		time.Sleep(time.Minute)
		require.Greater(t, k.Behind(), 59*time.Second)
		k.MemoryAlone()
		require.Zero(t, k.Behind(), "it serves without")
		require.Equal(t, "1", mustBegin(t, dir.Killed(), config{}).value("a"))
		require.Len(t, k.cfg.Events.Since(0), 1, "it is said once")
	})
}

// Who cannot wait any longer does not wait for a disk that hangs.
func TestWaitEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := mustBegin(t, disktest.New(), config{sync: Always}) // which does not run
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		require.ErrorIs(t, k.Wait(ctx), context.DeadlineExceeded)
	})
}

// A journal that has outgrown what is held is written anew, while changes go on.
func TestJournalIsRewritten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := disktest.New()
		k := mustBegin(t, dir, config{})
		stop := k.run(t)
		value := fmt.Sprintf("%0200000d", 1)
		for i := range 1000 {
			k.put(t, fmt.Sprint("a", i%10), value, time.Hour)
			time.Sleep(flushEvery)
		}
		stop()
		require.Positive(t, k.rewritten.Load())
		require.Less(t, k.size.Load(), int64(100<<20), "200 MB were written, of which 2 are held")
		again := mustBegin(t, dir.Killed(), config{})
		for i := range 10 {
			require.Equal(t, value, again.value(fmt.Sprint("a", i)))
		}
	})
}

func TestParseSync(t *testing.T) {
	t.Parallel()
	for _, s := range []Sync{EverySecond, Always, Never} {
		parsed, err := ParseSync(s.String())
		require.NoError(t, err)
		require.Equal(t, s, parsed)
	}
	s, err := ParseSync("")
	require.NoError(t, err)
	require.Equal(t, EverySecond, s)
	_, err = ParseSync("sometimes")
	require.EqualError(t, err, `fsync "sometimes": everysec, always or no are accepted`)
}
