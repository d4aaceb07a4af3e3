package disk_test

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/seed-95a32959/holdfast/internal/disk"
	"github.com/seed-95a32959/holdfast/internal/disk/disktest"
	"github.com/seed-95a32959/holdfast/session"
)

var ada = disk.Identity{Cluster: "holdfast", Name: "ada"}

// held is what a journal says is held: the records by key, as bytes.
type held map[string]string

func (h held) Put(rec *session.Record) error { h[rec.Key()] = string(rec.AppendMoved(nil)); return nil }
func (h held) Forget(key string)             { delete(h, key) }
func (h held) Clear(partition int) {
	maps.DeleteFunc(h, func(key string, _ string) bool { return partitionOf(key) == partition })
}

func partitionOf(key string) int { return len(key) % 3 }

// records are made by a store, as a node's are.
type records struct{ store *session.Store }

func newRecords(t require.TestingT) records {
	store, err := session.NewStore(session.Config{
		Partitions: 1, PartitionOf: func(string) int { return 0 }, TagOf: func(key string) (string, bool) { return key, false },
		Now: func() time.Time { return time.UnixMilli(1e12) },
	})
	require.NoError(t, err)
	store.Open(0)
	return records{store}
}

func (r records) of(t require.TestingT, key, value string) *session.Record {
	res, err := r.store.Do(&session.Op{Kind: session.Put, Key: key, Revive: true, Fields: []session.Field{{Name: "v", Value: value}}})
	require.NoError(t, err)
	return res.Record
}

func open(t require.TestingT, dir disk.FS) (*disk.Journal, held, disk.Replayed) {
	j, err := disk.Open(dir, ada)
	require.NoError(t, err)
	found := make(held)
	what, err := j.Replay(found)
	require.NoError(t, err)
	return j, found, what
}

// After a process was killed all that it had appended is there; after a loss of
// power a batch is there whole or not at all, in order, and all that was synced.
// It does not matter whether a base was being written. A snapshot that was taken
// is there, and has what had been appended until then.
func TestCrashes(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		dir, made := disktest.New(), newRecords(t)
		j, found, _ := open(t, dir)
		require.Empty(t, found)
		states := []held{{}} // after each batch
		synced := 0          // of states
		var rewriting *disk.Rewrite
		var todo []string // keys that the rewrite has still to add
		recs := make(map[string]*session.Record)
		snapshots := make(map[string]held) // by name, the two that are kept
		now := func() held { return states[len(states)-1] }
		key := rapid.StringMatching("[ab]{1,4}")
		for step := range rapid.IntRange(1, 40).Draw(t, "steps") {
			switch rapid.SampledFrom([]string{"append", "append", "append", "sync", "rewrite", "rewrite", "snapshot", "kill", "crash"}).Draw(t, "what") {
			case "append":
				var b disk.Batch
				next := maps.Clone(now())
				for range rapid.IntRange(1, 4).Draw(t, "changes") {
					switch k := key.Draw(t, "key"); rapid.IntRange(0, 5).Draw(t, "change") {
					case 0:
						b.Forget(k)
						next.Forget(k)
					case 1:
						b.Clear(partitionOf(k))
						next.Clear(partitionOf(k))
					default:
						recs[k] = made.of(t, k, fmt.Sprint(step, strings.Repeat("x", rapid.IntRange(0, 200).Draw(t, "size"))))
						b.Put(recs[k])
						require.NoError(t, next.Put(recs[k]))
					}
				}
				require.NoError(t, j.Append(&b))
				states = append(states, next)
			case "sync":
				require.NoError(t, j.Sync())
				synced = len(states) - 1
			case "rewrite": // a step of one
				switch {
				case rewriting == nil:
					var err error
					rewriting, err = j.BeginRewrite()
					require.NoError(t, err)
					synced = len(states) - 1
					todo = slices.Sorted(maps.Keys(recs))
				case len(todo) > 0:
					if k := todo[0]; now()[k] != "" { // as it is now
						require.NoError(t, rewriting.Add(recs[k]))
					}
					todo = todo[1:]
				default:
					require.NoError(t, rewriting.Finish())
					require.NoError(t, j.EndRewrite(rewriting))
					rewriting = nil
				}
			case "snapshot":
				s, err := j.BeginSnapshot(time.Unix(int64(step), 0))
				require.NoError(t, err)
				name, err := s.Take(2)
				require.NoError(t, err)
				for len(snapshots) > 1 {
					delete(snapshots, slices.Min(slices.Collect(maps.Keys(snapshots))))
				}
				snapshots[name], synced = now(), len(states)-1
			case "kill":
				dir, rewriting = dir.Killed(), nil
				j, found, _ = open(t, dir)
				require.Equal(t, now(), found)
				states, synced = append(states, found), len(states) // Replay syncs nothing, but what it has cut off
				require.NoError(t, j.Sync())
			case "crash":
				dir, rewriting = dir.Crashed(rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "random"), 1))), nil
				var what disk.Replayed
				j, found, what = open(t, dir)
				require.Empty(t, what.Damaged, "what is torn at the end is no damage")
				at := slices.IndexFunc(states[synced:], func(h held) bool { return maps.Equal(h, found) })
				require.GreaterOrEqual(t, at, 0, "found %v, and not one of %v", found, states[synced:])
				states, synced = append(states[:synced+at+1:synced+at+1], found), synced+at+1
			}
			for name, had := range snapshots {
				_, found, what := open(t, dir.Restored(name))
				require.Equal(t, had, found)
				require.Zero(t, what.Torn)
				require.Empty(t, what.Damaged)
			}
		}
	})
}

// Whatever bit of whatever file is flipped: what is found was written, and what
// is missing is told of.
func TestFlippedBits(t *testing.T) {
	t.Parallel()
	dir, made := disktest.New(), newRecords(t)
	j, _, _ := open(t, dir)
	written := make(map[string][]string) // all values that a key ever had
	put := func(n int) {
		var b disk.Batch
		for i := range 3 {
			rec := made.of(t, fmt.Sprintf("key-%d", i), fmt.Sprint(n))
			written[rec.Key()] = append(written[rec.Key()], string(rec.AppendMoved(nil)))
			b.Put(rec)
		}
		require.NoError(t, j.Append(&b))
	}
	for n := range 3 {
		put(n)
	}
	r, err := j.BeginRewrite()
	require.NoError(t, err)
	for i := range 3 {
		require.NoError(t, r.Add(made.store.Peek(fmt.Sprintf("key-%d", i))))
	}
	require.NoError(t, r.Finish())
	put(3)
	require.NoError(t, j.EndRewrite(r))
	put(4)
	require.NoError(t, j.Close())
	files, err := dir.List()
	require.NoError(t, err)
	flips := 0
	for _, f := range files {
		if !strings.HasPrefix(f.Name, "base-") && !strings.HasPrefix(f.Name, "log-") {
			continue
		}
		for bit := 0; bit < int(f.Size)*8; bit += 3 {
			hurt := dir.Killed()
			hurt.Flip(f.Name, bit)
			j, found, what := open(t, hurt)
			require.True(t, len(what.Damaged) > 0 || what.Torn > 0, "bit %d of %s", bit, f.Name)
			for key, value := range found {
				require.Contains(t, written[key], value)
			}
			if len(what.Damaged) > 0 {
				require.True(t, j.IsDue(), "the damaged file is to be replaced")
				r, err := j.BeginRewrite()
				require.NoError(t, err)
				require.NoError(t, r.Finish())
				require.NoError(t, j.EndRewrite(r))
				require.False(t, j.IsDue())
				left, err := hurt.List()
				require.NoError(t, err)
				require.True(t, slices.ContainsFunc(left, func(i disk.Info) bool { return i.Name == "damaged-"+f.Name }))
			}
			flips++
		}
	}
	require.Greater(t, flips, 500)
}

// A file may be cut short anywhere.
func TestCutFiles(t *testing.T) {
	t.Parallel()
	dir, made := disktest.New(), newRecords(t)
	j, _, _ := open(t, dir)
	var states []held
	now := make(held)
	for n := range 4 {
		states = append(states, maps.Clone(now))
		var b disk.Batch
		rec := made.of(t, "k", fmt.Sprint(n))
		b.Put(rec)
		require.NoError(t, now.Put(rec))
		require.NoError(t, j.Append(&b))
	}
	states = append(states, now)
	require.NoError(t, j.Close())
	files, err := dir.List()
	require.NoError(t, err)
	log := files[slices.IndexFunc(files, func(i disk.Info) bool { return i.Name == "log-00000001" })]
	for size := range int(log.Size) {
		cut := dir.Killed()
		cut.Cut(log.Name, size)
		j, found, what := open(t, cut)
		require.Empty(t, what.Damaged)
		require.Contains(t, states, found)
		require.NoError(t, j.Close())
		_, again, what := open(t, cut)
		require.Equal(t, found, again)
		require.Zero(t, what.Torn, "it was cut off")
	}
}

// After the first failure nothing is written any more, and what had been synced
// is there.
func TestFailures(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		dir, made := disktest.New(), newRecords(t)
		j, _, _ := open(t, dir)
		broken := errors.New("i/o error")
		if rapid.Bool().Draw(t, "full") {
			dir.Limit(int64(rapid.IntRange(100, 2000).Draw(t, "limit")))
			broken = disktest.ErrFull
		} else {
			dir.FailAfter(rapid.IntRange(0, 40).Draw(t, "after"), broken)
		}
		now, synced := make(held), held{}
		var err error
		for n := 0; err == nil && n < 100; n++ {
			var b disk.Batch
			rec := made.of(t, fmt.Sprintf("key-%d", n%5), fmt.Sprint(n))
			b.Put(rec)
			require.NoError(t, now.Put(rec))
			if err = j.Append(&b); err == nil && n%3 == 0 {
				if err = j.Sync(); err == nil {
					synced = maps.Clone(now)
				}
			}
		}
		require.ErrorIs(t, err, broken)
		require.ErrorContains(t, err, "log-00000001", "it says where")
		dir.FailAfter(-1, nil)
		dir.Limit(0)
		before := dir.Killed()
		var b disk.Batch
		b.Put(made.of(t, "later", "1"))
		require.Equal(t, err, j.Append(&b), "the first error stays")
		require.Equal(t, err, j.Sync())
		require.False(t, j.IsDue())
		_, found, _ := open(t, dir.Killed())
		_, was, _ := open(t, before)
		require.Equal(t, was, found, "nothing is written after a failure")
		for key := range synced {
			require.Contains(t, found, key)
		}
	})
}

// A directory that is not this node's is not touched.
func TestForeignDirectories(t *testing.T) {
	t.Parallel()
	begin := func() *disktest.Mem {
		dir := disktest.New()
		j, _, _ := open(t, dir)
		require.NoError(t, j.Close())
		return dir
	}
	dir := begin()
	_, err := disk.Open(dir, disk.Identity{Cluster: "holdfast", Name: "bob"})
	require.ErrorIs(t, err, disk.ErrForeign)
	require.EqualError(t, err, `open journal: this data directory is another node's: of node "ada" of cluster "holdfast", this is node "bob" of cluster "holdfast"`)
	_, err = disk.Open(dir, disk.Identity{Cluster: "other", Name: "ada"})
	require.ErrorIs(t, err, disk.ErrForeign)

	j, _, _ := open(t, dir)
	_, err = disk.Open(dir, ada)
	require.ErrorIs(t, err, disk.ErrInUse)
	require.NoError(t, j.Close())
	require.ErrorIs(t, j.Append(new(disk.Batch)), disk.ErrClosed)

	write := func(dir *disktest.Mem, name, text string) {
		f, err := dir.Create(name)
		require.NoError(t, err)
		_, err = f.Write([]byte(text))
		require.NoError(t, err)
	}
	newer := begin()
	write(newer, "identity", `{"format":2,"cluster":"holdfast","name":"ada"}`)
	_, err = disk.Open(newer, ada)
	require.ErrorIs(t, err, disk.ErrNewer)
	require.ErrorContains(t, err, "format 2, this build reads 1")

	nonsense := begin()
	write(nonsense, "identity", "{")
	_, err = disk.Open(nonsense, ada)
	require.ErrorIs(t, err, disk.ErrForeign)

	nameless := begin()
	require.NoError(t, nameless.Remove("identity"))
	_, err = disk.Open(nameless, ada)
	require.ErrorIs(t, err, disk.ErrForeign)
	require.ErrorContains(t, err, "log-00000001")
}

// A rewrite bounds what the files take, however often the records change.
func TestRewriteBoundsTheFiles(t *testing.T) {
	t.Parallel()
	dir, made := disktest.New(), newRecords(t)
	j, _, _ := open(t, dir)
	large := strings.Repeat("x", 100<<10)
	recs := make(map[string]*session.Record)
	live := int64(0)
	for n := range 1000 {
		key := fmt.Sprintf("key-%d", n%100)
		recs[key] = made.of(t, key, large)
		var b disk.Batch
		b.Put(recs[key])
		require.NoError(t, j.Append(&b))
		live = int64(len(recs)) * int64(len(large))
		if !j.IsDue() {
			continue
		}
		r, err := j.BeginRewrite()
		require.NoError(t, err)
		for _, rec := range recs {
			require.NoError(t, r.Add(rec))
		}
		require.NoError(t, r.Finish())
		require.NoError(t, j.EndRewrite(r))
		require.False(t, j.IsDue())
	}
	require.Less(t, j.Size(), live+40<<20)
	r, err := j.BeginRewrite()
	require.NoError(t, err)
	require.NoError(t, r.Add(recs["key-1"]))
	require.NoError(t, r.GiveUp())
	require.NoError(t, j.Close())
	_, found, what := open(t, dir)
	require.Empty(t, what.Damaged)
	require.Len(t, found, 100)
	for key, rec := range recs {
		require.Equal(t, string(rec.AppendMoved(nil)), found[key])
	}
}
