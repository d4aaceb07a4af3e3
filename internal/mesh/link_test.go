package mesh

import (
	"context"
	"net"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/seed-95a32959/holdfast/internal/member"
	"github.com/seed-95a32959/holdfast/internal/member/membertest"
	"github.com/seed-95a32959/holdfast/internal/peer"
	"github.com/seed-95a32959/holdfast/ring"
)

// A bulk connection that comes up when its link has gone down belongs to
// nobody, and is closed.
func TestBulkConnectionOfALinkThatIsDown(t *testing.T) {
	t.Parallel()
	bob := begin(t, "bob", noSections)
	ada := begin(t, "ada", noSections, bob.listen(t))
	// Once it is shut, the first dial waits for one thing, and those of the
	// link's own loop for another.
	var shut atomic.Bool
	var held atomic.Int32
	first, later := make(chan struct{}), make(chan struct{})
	dial := ada.dial
	ada.dial = func(ctx context.Context, address string) (net.Conn, error) {
		if shut.Load() {
			gate := later
			if held.Add(1) == 1 {
				gate = first
			}
			<-gate
		}
		return dial(ctx, address)
	}
	ada.Sync(ada.members.view)
	l := ada.Link(bob.id)
	eventually(t, "the link is up", l.Connected)
	shut.Store(true)
	type result struct {
		link *peer.Link
		err  error
	}
	got := make(chan result, 1)
	go func() {
		bulk, err := l.connectBulk(context.Background())
		got <- result{bulk, err}
	}()
	eventually(t, "the bulk connection is being dialled", func() bool { return held.Load() == 1 })
	l.disconnect()
	close(first)
	r := <-got
	require.ErrorIs(t, r.err, ErrNoLink)
	require.Nil(t, r.link)
	close(later)
	eventually(t, "it comes up again", l.Connected)
}

// That a process has ended is known where it has closed its connections before
// its address refuses new ones, or where another process answers there. A
// refusal alone may be a firewall's.
func TestLinkFindsThatAProcessHasEnded(t *testing.T) {
	t.Parallel()
	bob := begin(t, "bob", noSections)
	other := bob.listen(t)
	other.ID = id("bill")
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	refuses := &member.Member{ID: id("cyd"), Meta: member.Meta{Role: member.RoleNode, State: member.StateReady, Peer: l.Addr().String()}, Up: true}
	l.Close()
	dee := begin(t, "dee", noSections)
	ends := dee.listen(t)
	ada := begin(t, "ada", noSections, other, refuses, ends)
	ada.Sync(ada.members.view)
	says := func(of map[member.ID]string, who member.ID, why string) {
		eventually(t, why, func() bool {
			ada.members.mu.Lock()
			defer ada.members.mu.Unlock()
			return of[who] == why
		})
	}
	says(ada.members.gone, refuses.ID, "connection refused at "+refuses.Peer)
	says(ada.members.ended, other.ID, "the address answers as another process")
	eventually(t, "the third connection is up", func() bool {
		dee.gate.mu.Lock()
		defer dee.gate.mu.Unlock()
		return dee.gate.admitted == 2
	})
	dee.stop()
	says(ada.members.ended, ends.ID, "it closed its connections, and new ones are refused at "+ends.Peer)
	ada.members.mu.Lock()
	defer ada.members.mu.Unlock()
	require.NotContains(t, ada.members.ended, refuses.ID)
	require.NotContains(t, ada.members.gone, ends.ID)
}

// There is a link to each boot that may come back: also to one that is out of
// reach, and to one whose name another had for a while.
func TestLinksAreToAllThatMayComeBack(t *testing.T) {
	t.Parallel()
	ada := begin(t, "ada", noSections)
	ada.dial = func(context.Context, string) (net.Conn, error) { return nil, syscall.ECONNREFUSED }
	boot := func(boot int, set func(who *member.Member)) *member.Member {
		who := membertest.Up("bob", boot)
		set(who)
		return who
	}
	up := func(*member.Member) {}
	down := func(who *member.Member) { who.Up = false }
	gone := func(who *member.Member) { who.Up, who.Gone = false, true }
	ended := func(who *member.Member) { who.Up, who.Gone, who.Ended = false, true, true }
	left := func(who *member.Member) { who.Up, who.Gone, who.Left = false, true, true }
	for _, step := range []struct {
		what         string
		older, newer *member.Member
		want         []int
	}{
		{"one", boot(1, up), nil, []int{1}},
		{"a newer one has its name", boot(1, down), boot(2, up), []int{2}},
		{"that is out of reach", boot(1, down), boot(2, gone), []int{1, 2}},
		{"the older has the name again", boot(1, up), boot(2, gone), []int{1}},
		{"and is out of reach too", boot(1, gone), boot(2, gone), []int{1, 2}},
		{"has ended", boot(1, ended), boot(2, gone), []int{1, 2}},
		{"gossip has forgotten it", nil, boot(2, gone), []int{2}},
		{"the newer comes back", nil, boot(2, up), []int{2}},
		{"and says good-bye", nil, boot(2, left), nil},
		{"one that has ended", boot(1, ended), nil, nil},
	} {
		members := []*member.Member{{ID: ada.id, Up: true}}
		for _, who := range []*member.Member{step.older, step.newer} {
			if who != nil {
				members = append(members, who)
			}
		}
		view, err := member.NewView(ada.id, members, ring.Params{VirtualNodes: 5, Load: 1.5, Copies: 2}, nil)
		require.NoError(t, err)
		ada.Sync(view)
		var have, want []member.ID
		for _, l := range ada.Links() {
			have = append(have, l.ID())
		}
		for _, n := range step.want {
			want = append(want, membertest.ID("bob", n))
		}
		require.Equal(t, want, have, step.what)
	}
}
