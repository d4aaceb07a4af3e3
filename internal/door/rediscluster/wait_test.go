package rediscluster

import (
	"context"
	"encoding/binary"
	"math"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/seed-95a32959/holdfast/internal/member"
	"github.com/seed-95a32959/holdfast/internal/member/membertest"
	"github.com/seed-95a32959/holdfast/internal/mesh"
	"github.com/seed-95a32959/holdfast/internal/mesh/meshtest"
	"github.com/seed-95a32959/holdfast/internal/ownership"
	"github.com/seed-95a32959/holdfast/internal/peer"
	"github.com/seed-95a32959/holdfast/internal/replication"
	"github.com/seed-95a32959/holdfast/ring"
	"github.com/seed-95a32959/holdfast/session"
)

// gated is the way of copies to a member that takes none until it is open.
type gated struct {
	to   *replication.Replicator
	open chan struct{}
}

func (*gated) ReadsMoved() bool { return true }
func (*gated) ListsPages() bool { return true }

func (g *gated) Call(ctx context.Context, typ byte, payload []byte) ([]byte, error) {
	select {
	case <-g.open:
		return g.to.Serve(g, typ, payload)
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// behind has the member owe a copy of the key to another one, until the
// function that it returns is called.
func (n *still) behind(t testing.TB, to member.ID, key string) (open func()) {
	t.Helper()
	store, err := session.NewStore(session.Config{Partitions: ring.Partitions, PartitionOf: ring.Partition, TagOf: func(key string) (string, bool) { return key, false }})
	require.NoError(t, err)
	other := replication.New(replication.Config{Store: store, Partitions: ring.Partitions, Now: time.Now})
	t.Cleanup(other.Close)
	g := &gated{other, make(chan struct{})}
	n.cfg.Replicator.Attach(t.Context(), to.String(), g)
	n.put(t, key)
	n.cfg.Replicator.Mark([]string{to.String()}, key)
	return func() { close(g.open) }
}

// heldBy returns a partition that a member owns and of which these others have
// the copies.
func heldBy(t testing.TB, v *member.View, owner string, holders ...string) int {
	t.Helper()
	for p := range ring.Partitions {
		if names := slices.Clone(v.Table.Holders(p)); names[0] == owner {
			slices.Sort(names[1:])
			if slices.Equal(names[1:], holders) {
				return p
			}
		}
	}
	t.Fatalf("no partition of %s is held by %v", owner, holders)
	return -1
}

// wait runs a WAIT that has so much time, and returns what it took.
func (n *still) wait(t testing.TB, limit time.Duration, copies int, partitions ...int) (reached int, took time.Duration) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	begin := time.Now()
	reached = n.Wait(ctx, partitions, copies)
	return reached, time.Since(begin)
}

// WAIT answers with the copies that the partition with the fewest has got to.
func TestWaitCountsCopies(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		params := meshtest.Params
		params.Copies = 3
		n := begin(t, "a", setting{params: params})
		b, c, d := membertest.Up("b", 1), membertest.Up("c", 1), membertest.Up("d", 1)
		v := n.see(t, b, c, d)
		n.serveOwn()
		bc, bd, cd := heldBy(t, v, "a", "b", "c"), heldBy(t, v, "a", "b", "d"), heldBy(t, v, "a", "c", "d")
		n.behind(t, b.ID, membertest.KeyIn(bc))()
		open := []func(){n.behind(t, c.ID, membertest.KeyIn(cd)), n.behind(t, d.ID, membertest.KeyIn(cd))}
		time.Sleep(time.Millisecond) // b has got its copy

		reached, took := n.wait(t, time.Second, 1, bc)
		require.Equal(t, 1, reached)
		require.Zero(t, took, "at once")
		reached, took = n.wait(t, time.Second, 2, bc)
		require.Equal(t, 1, reached)
		require.Equal(t, time.Second, took, "when time is up it says how far it has got")
		reached, took = n.wait(t, time.Second, 1, bc, cd, bd)
		require.Equal(t, 0, reached)
		require.Equal(t, time.Second, took)
		reached, took = n.wait(t, time.Second, 0, cd)
		require.Equal(t, 0, reached)
		require.Zero(t, took, "nothing is asked for")

		time.AfterFunc(100*time.Millisecond, func() {
			for _, open := range open {
				open()
			}
		})
		reached, took = n.wait(t, time.Second, 1, bc, cd)
		require.Equal(t, 1, reached, "bc had one when it was looked at last")
		require.GreaterOrEqual(t, took, 100*time.Millisecond)
		require.LessOrEqual(t, took, 100*time.Millisecond+waitPollMost)
		reached, took = n.wait(t, time.Second, 2, bc, bd, cd)
		require.Equal(t, 2, reached)
		require.Zero(t, took)
		reached, took = n.wait(t, time.Second, 3, bc)
		require.Equal(t, 2, reached, "more than there are")
		require.Equal(t, time.Second, took)

		n.unsynced = []string{b.ID.String()}
		reached, _ = n.wait(t, time.Second, 2, bc)
		require.Equal(t, 1, reached, "nothing is marked for b, and it has not got what was there before")
	})
}

// Copies of which a successor may know nothing do not count: those of an owner
// whose lease has run out, and in mode Majority those by a ring that is newer than
// the lease, as on the lesser side of a cut.
func TestWaitCountsWhatLasts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for mode, strict := range map[ownership.Mode]bool{ownership.Available: false, ownership.Majority: true} {
			n := begin(t, "a", setting{mode: mode})
			b := membertest.Up("b", 1)
			v := n.see(t, b)
			n.serveOwn()
			p := membertest.OwnedBy(t, v, "a")
			n.behind(t, b.ID, membertest.KeyIn(p))()
			time.Sleep(time.Millisecond)

			reached, took := n.wait(t, time.Second, 1, p)
			require.Equal(t, 1, reached)
			require.Zero(t, took)

			n.leaseUntil(n.cfg.Clock.Since())
			reached, took = n.wait(t, time.Second, 1, p)
			require.Zero(t, reached)
			require.Equal(t, time.Second, took, "the lease may come again")

			n.cfg.Dispatcher.SetView(v, v) // the ring is new
			n.leaseUntil(n.cfg.Clock.Since() + ownership.LeaseTime - 1)
			reached, _ = n.wait(t, time.Millisecond, 1, p)
			require.Equal(t, strict, reached == 0)
			n.leaseUntil(math.MaxInt64)
			reached, _ = n.wait(t, time.Millisecond, 1, p)
			require.Equal(t, 1, reached)
		}
	})
}

// Where nothing was written every copy has it; where nobody serves what was, no
// copy counts.
func TestWaitForNothingAndForNobody(t *testing.T) {
	t.Parallel()
	n := begin(t, "a", setting{})
	for want, others := range [][]*member.Member{{}, {membertest.Up("b", 1)}} {
		n.see(t, others...)
		require.Equal(t, want, n.Wait(t.Context(), nil, 5))
	}
	v := n.see(t, membertest.Up("b", 1), membertest.Up("c", 1))
	require.Equal(t, 1, n.Wait(t.Context(), nil, 5), "two copies are kept")

	require.Zero(t, n.Wait(t.Context(), []int{membertest.OwnedBy(t, v, "c")}, 0), "there is no link to its owner")
	require.Zero(t, n.Wait(t.Context(), []int{membertest.OwnedBy(t, v, "a")}, 0), "it is not claimed yet")
}

// A node that ends keeps nobody waiting.
func TestWaitEndsWithTheNode(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := begin(t, "a", setting{})
		v := n.see(t, membertest.Up("b", 1))
		n.serveOwn()
		ctx, cancel := context.WithCancel(t.Context())
		n.cfg.Context = ctx
		time.AfterFunc(time.Second, cancel)
		reached, took := n.wait(t, time.Minute, 1, membertest.OwnedBy(t, v, "a"))
		require.Zero(t, reached)
		require.Equal(t, time.Second, took)
	})
}

// An owner that ends answers at once that it has not got so far. It is asked
// again only so often.
func TestWaitDoesNotPressAnOwnerThatEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		nodes := together(t, 2)
		a, b := nodes[0], nodes[1]
		ended, end := context.WithCancel(t.Context())
		end()
		b.cfg.Context = ended
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		// All of the first pauses, and one as long as they get from then on.
		asked, most := 0, 10+int(time.Second/waitPollMost)
		b.hear = func(r *peer.Request) {
			if r.Type != mesh.TypeWait {
				return
			}
			if asked++; asked > most {
				cancel() // time stands still here while members ask and answer
			}
		}
		p := membertest.OwnedBy(t, a.cfg.View(), "b")
		b.behind(t, a.cfg.Self, membertest.KeyIn(p))
		begin := time.Now()
		require.Zero(t, a.Wait(ctx, []int{p}, 1))
		require.LessOrEqual(t, asked, most)
		require.Equal(t, time.Second, time.Since(begin), "it may go on and reach more")
	})
}

// The owner of what was written counts.
func TestWaitAsksTheOwner(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		nodes := together(t, 2)
		a, b := nodes[0], nodes[1]
		v := a.cfg.View()
		ours, theirs := membertest.OwnedBy(t, v, "a"), membertest.OwnedBy(t, v, "b")
		open := b.behind(t, a.cfg.Self, membertest.KeyIn(theirs))
		a.behind(t, b.cfg.Self, membertest.KeyIn(ours))()
		synctest.Wait()

		reached, took := a.wait(t, time.Second, 1, ours)
		require.Equal(t, 1, reached)
		require.Zero(t, took)
		require.Zero(t, b.asked())
		reached, took = a.wait(t, time.Second, 1, ours, theirs)
		require.Zero(t, reached)
		require.Equal(t, time.Second, took)
		// One each slice, one that is begun as time runs out, and the last.
		require.LessOrEqual(t, b.asked(), int(time.Second/waitSlice)+2, "an answer takes its time")
		reached, took = a.wait(t, time.Second, 0, theirs)
		require.Zero(t, reached)
		require.Zero(t, took)
		require.Equal(t, 1, b.asked())
		reached, took = b.wait(t, time.Second, 2, ours, theirs)
		require.Zero(t, reached, "fewer than what another owner says later")
		require.Equal(t, time.Second, took)

		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(waitSlice/2, cancel)
		require.Zero(t, a.Wait(ctx, []int{theirs}, 1))
		require.Equal(t, 1, b.asked(), "the client has gone, and nobody is asked for its sake")

		// The last answer came before the copy did. When time is up, it is
		// asked once more.
		time.AfterFunc(waitSlice+waitSlice/4, open)
		reached, took = a.wait(t, waitSlice+waitSlice/2, 2, theirs)
		require.Equal(t, 1, reached)
		require.Equal(t, waitSlice+waitSlice/2, took)
		require.Equal(t, 3, b.asked())
		reached, took = a.wait(t, time.Second, 1, ours, theirs)
		require.Equal(t, 1, reached)
		require.Zero(t, took)
	})
}

func TestServeWait(t *testing.T) {
	t.Parallel()
	n := begin(t, "a", setting{})
	v := n.see(t, membertest.Up("b", 1))
	n.serveOwn()
	p := membertest.OwnedBy(t, v, "a")
	for name, frame := range map[string][]byte{
		"nothing": nil, "half a number": {0}, "half a partition": {0, 1, 0}, "a partition and a half": {0, 1, 0, 1, 0},
	} {
		answer, err := n.ServeWait(t.Context(), frame)
		require.ErrorIs(t, err, session.ErrMalformed, name)
		require.Nil(t, answer, name)
	}
	answer, err := n.ServeWait(t.Context(), encodeWait([]int{p}, 0))
	require.NoError(t, err)
	require.Equal(t, []byte{0, 0}, answer)
	answer, err = n.ServeWait(t.Context(), encodeWait([]int{ring.Partitions, maxCopies}, 3))
	require.NoError(t, err)
	require.Equal(t, []byte{0xff, 0xff}, answer, "there are no such partitions, so none of them has fewer")
}

// An owner keeps whoever asks waiting for a short time.
func TestServeWaitAnswersInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := begin(t, "a", setting{})
		v := n.see(t, membertest.Up("b", 1))
		n.serveOwn()
		p := membertest.OwnedBy(t, v, "a")
		open := n.behind(t, membertest.ID("b", 1), membertest.KeyIn(p))
		begin := time.Now()
		answer, err := n.ServeWait(t.Context(), encodeWait([]int{p}, 1))
		require.NoError(t, err)
		require.Equal(t, []byte{0, 0}, answer)
		require.Equal(t, waitSlice, time.Since(begin))
		open()
		answer, err = n.ServeWait(t.Context(), encodeWait([]int{p}, 1))
		require.NoError(t, err)
		require.Equal(t, []byte{0, 1}, answer)
		require.Less(t, time.Since(begin), 2*waitSlice)
	})
}

func TestEncodeWait(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		partitions := rapid.SliceOfN(rapid.IntRange(0, ring.Partitions-1), 0, 20).Draw(t, "partitions")
		copies := rapid.OneOf(rapid.IntRange(-2, 5), rapid.Int()).Draw(t, "copies")
		b := encodeWait(partitions, copies)
		require.Len(t, b, 2+2*len(partitions))
		require.Equal(t, min(max(copies, 0), maxCopies), int(binary.BigEndian.Uint16(b)))
		for i, p := range partitions {
			require.Equal(t, p, int(binary.BigEndian.Uint16(b[2+2*i:])))
		}
	})
}
