package command

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/seed-95a32959/holdfast/ring"
	"github.com/seed-95a32959/holdfast/session"
)

// overAfter is a context that is over after so many looks at it.
type overAfter struct {
	context.Context
	looks int
}

func (c *overAfter) Err() error {
	if c.looks--; c.looks < 0 {
		return context.Canceled
	}
	return nil
}

// TestWorkOfALeftClientStops: what nobody waits for is not begun, and what has
// begun ends at the next field; then nothing was changed.
func TestWorkOfALeftClientStops(t *testing.T) {
	const n = 10 * stopEvery
	r := costStore(t, n, false)
	before := r.store.Digest(ring.Partition(costHash))
	for _, name := range []string{"hset", "hmset", "hmget", "hdel", "hdel present", "sadd", "srem", "smismember", "zadd", "zadd new", "zmscore", "zrem", "hscan", "mget", "restore"} {
		for _, looks := range []int{0, 4} {
			r.env.Context = nil
			b := costBatch(r, name, n)
			r.env.Context = &overAfter{context.Background(), looks}
			require.Equal(t, "-"+string(errLate), r.run(b), "%s, %d looks", name, looks)
			require.Equal(t, before, r.store.Digest(ring.Partition(costHash)))
		}
		r.env.Context = nil
	}
	r.env.Context = &overAfter{context.Background(), 4}
	answers := strings.Split(r.run(&Batch{Commands: [][][]byte{words("GET a"), words("SET a 1"), words("SET {a}b 1"), words("SET a 2"), words("GET a")}}), " -")
	require.Equal(t, "$-1 +OK +OK", answers[0])
	require.Len(t, answers, 3, "those that were not run are answered too")
	r.env.Context = nil
	require.Equal(t, "$1 1", r.do("GET a"))
}

// TestLongPipelineGoesOnInSlices: commands that are independent of each other
// do not make one long transaction, and all of them are run.
func TestLongPipelineGoesOnInSlices(t *testing.T) {
	const m, n = 20_000, 300 // each costs a look at every member
	r := costStore(t, m, false)
	b, want := &Batch{}, []string{}
	for i := range n {
		b.Commands = append(b.Commands, words("ZRANK "+costZSet+" "+costName(0)), words(fmt.Sprint("ZADD ", costZSet, " -1 new", i)))
		want = append(want, fmt.Sprint(":", i), ":1")
	}
	require.Equal(t, strings.Join(want, " "), r.run(b))
	require.Greater(t, r.out.Work, 5*maxSlice)
	require.Equal(t, fmt.Sprint(":", m+n), r.do("ZCARD "+costZSet))
}

// TestTransactionOfTooMuchWork: an EXEC that would take seconds is refused, and
// has changed nothing.
func TestTransactionOfTooMuchWork(t *testing.T) {
	const m = 100_000
	r := costStore(t, m, false)
	b := &Batch{Multi: true}
	for i := range 300 {
		b.Commands = append(b.Commands, words("ZRANK "+costZSet+" "+costName(0)), words(fmt.Sprint("ZADD ", costZSet, " -1 new", i)))
	}
	require.Equal(t, "-"+string(errLong), r.run(b))
	require.Equal(t, fmt.Sprint(":", m), r.do("ZCARD "+costZSet))
	b.Commands = b.Commands[:4]
	require.Equal(t, "*4 :0 :1 :1 :1", r.run(b))
}

// TestBusyBatchIsAnswered: a batch that others come before each time is
// answered with an error after which clients try again.
func TestBusyBatchIsAnswered(t *testing.T) {
	r := newRedis(t)
	r.do("HSET k a 1")
	runs := 0
	specs["test.slow"] = &Spec{Name: "test.slow", Arity: 2, Flags: Write, FirstKey: 1, LastKey: 1, Step: 1, Keyed: true, run: func(c *call) error {
		runs++
		c.Get(c.key())
		c.Spend(1 << 20)
		_, err := r.store.Do(&session.Op{Kind: session.Put, Key: "k", Fields: []session.Field{{Name: "a", Value: fmt.Sprint(runs)}}})
		require.NoError(t, err)
		c.remove(c.key())
		return c.ok()
	}}
	defer delete(specs, "test.slow")
	require.Equal(t, "-"+string(errBusy), r.do("TEST.SLOW k"))
	require.Greater(t, runs, 1)
}

// TestKeysOfOneCommand: what is put in its place under one hold of a partition
// is bounded, and what only reads is not.
func TestKeysOfOneCommand(t *testing.T) {
	r := newRedis(t)
	name := func(n int, head string) string { return each(head, costKey)(n)[0] }
	require.Equal(t, "-"+string(errManyKeys), r.do(name(maxKeys+1, "DEL")))
	require.Equal(t, ":0", r.do(name(maxKeys, "DEL")))
	require.Equal(t, ":0", r.do(name(maxKeys+1, "EXISTS")))
	b := &Batch{Multi: true}
	for i := range maxKeys + 1 {
		b.Commands = append(b.Commands, words("SET "+costKey(i)+" v"))
	}
	require.Equal(t, "-"+string(errManyKeys), r.run(b))
	require.Equal(t, ":0", r.do("EXISTS "+costKey(0)))
	b.Multi = false
	require.Equal(t, maxKeys+1, strings.Count(r.run(b), "+OK"), "independent ones go on in slices")
	r.env.Unverified = true
	require.Equal(t, maxKeys+1, strings.Count(r.run(b), "+OK"))
}
