package mesh_test

import (
	"context"
	"errors"
	"net"
	"slices"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed-95a32959/holdfast/internal/clock"
	"github.com/seed-95a32959/holdfast/internal/member"
	"github.com/seed-95a32959/holdfast/internal/member/membertest"
	"github.com/seed-95a32959/holdfast/internal/mesh"
	"github.com/seed-95a32959/holdfast/internal/mesh/meshtest"
	"github.com/seed-95a32959/holdfast/internal/peer"
)

// teller answers with who it is, who asks, and the question.
type teller struct{ name string }

func (h teller) Serve(r *peer.Request) {
	if string(r.Payload) == "fail" {
		r.Fail(errors.New("as was asked for"))
		return
	}
	r.Reply([]byte(h.name + " hears " + r.From.Name + ", a " + r.From.Role + ": " + string(r.Payload)))
}

// three are ada, bob and cyd, who are connected, until connections break.
type three struct {
	meshes map[string]*mesh.Mesh

	mu     sync.Mutex          // guards what follows
	broken map[[2]string]error // what dials from the first to the second end with
	open   map[[2]string][]net.Conn
	heard  map[string][]string // by name: from whom heartbeats came, on any way
	gone   []string            // who takes part no more, as ada sees it
	back   []string            // who does again
	ended  []string            // and of these, who has ended for sure
}

func connected(t *testing.T) *three {
	t.Helper()
	x := &three{meshes: make(map[string]*mesh.Mesh), broken: make(map[[2]string]error), open: make(map[[2]string][]net.Conn), heard: make(map[string][]string)}
	network := &meshtest.Network{Dialled: func(by, address string, c net.Conn) (net.Conn, error) {
		x.mu.Lock()
		defer x.mu.Unlock()
		way := [2]string{by, address[:3]}
		if err := x.broken[way]; err != nil {
			c.Close()
			return nil, err
		}
		x.open[way] = append(x.open[way], c)
		return c, nil
	}}
	names := []string{"ada", "bob", "cyd"}
	views := make(map[string]*member.View)
	for _, name := range names {
		members := meshtest.NewMembers(t, membertest.ID(name, 1), meshtest.Params)
		if name == "ada" {
			members.Back = func(id member.ID) {
				x.mu.Lock()
				defer x.mu.Unlock()
				x.back = append(x.back, id.Name)
			}
			members.Gone = func(id member.ID, _ string, ended bool) {
				x.mu.Lock()
				defer x.mu.Unlock()
				x.gone = append(x.gone, id.Name)
				if ended {
					x.ended = append(x.ended, id.Name)
				}
			}
		}
		sections := func(*mesh.Mesh) []mesh.Section {
			return []mesh.Section{mesh.Tell(mesh.SectionState, func() []byte { return []byte{2} }, func(from member.ID, _ []byte) error {
				x.mu.Lock()
				defer x.mu.Unlock()
				x.heard[name] = append(x.heard[name], from.Name)
				return nil
			})}
		}
		x.meshes[name] = network.Live(t, members, clock.New(time.Now), sections, teller{name})
		var others []*member.Member
		for _, other := range names {
			if other != name {
				others = append(others, membertest.Up(other, 1))
			}
		}
		views[name] = members.See(t, others...)
	}
	for _, name := range names {
		x.meshes[name].Sync(views[name])
	}
	time.Sleep(time.Second)
	return x
}

func (x *three) link(from, to string) *mesh.Link { return x.meshes[from].Link(membertest.ID(to, 1)) }

// cut breaks what one has dialled to the other, and its further dials.
func (x *three) cut(from, to string, why error) {
	x.mu.Lock()
	open := x.open[[2]string{from, to}]
	x.broken[[2]string{from, to}] = why
	x.mu.Unlock()
	for _, c := range open {
		c.Close()
	}
}

func (x *three) heartbeatsAt(name, from string) bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	return slices.Contains(x.heard[name], from)
}

// What one asks another whose connection does not answer goes through a third
// one: requests of both kinds, their failures, and heartbeats.
func TestRequestsGoThroughAThirdMember(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := connected(t)
		x.cut("ada", "bob", context.DeadlineExceeded)
		x.cut("bob", "ada", context.DeadlineExceeded)
		time.Sleep(time.Second)
		x.mu.Lock()
		clear(x.heard)
		x.mu.Unlock()

		l := x.link("ada", "bob")
		require.False(t, l.Connected())
		answer, err := l.Call(t.Context(), mesh.TypeHolds, []byte("hello"))
		require.NoError(t, err)
		require.Equal(t, "bob hears ada, a node: hello", string(answer))
		answer, err = l.Bulk().Call(t.Context(), mesh.TypeHolds, []byte("much"))
		require.NoError(t, err)
		require.Equal(t, "bob hears ada, a node: much", string(answer))
		_, err = l.Call(t.Context(), mesh.TypeHolds, []byte("fail"))
		var failed *peer.RemoteError
		require.ErrorAs(t, err, &failed)
		require.Equal(t, "as was asked for", failed.Text)

		time.Sleep(time.Second)
		require.True(t, l.Reached())
		require.True(t, l.Relayed())
		require.True(t, x.heartbeatsAt("bob", "ada"))
		require.True(t, x.heartbeatsAt("ada", "bob"))

		x.mu.Lock()
		clear(x.broken)
		x.mu.Unlock()
		meshtest.Eventually(t, "the direct connection is back", l.Connected)
		require.False(t, l.Relayed())
	})
}

// Where no third member reaches the target either, nothing is sent.
func TestNobodyPassesOnToWhomNobodyReaches(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := connected(t)
		x.cut("ada", "bob", context.DeadlineExceeded)
		x.cut("cyd", "bob", context.DeadlineExceeded)
		time.Sleep(time.Second)
		_, err := x.link("ada", "bob").Call(t.Context(), mesh.TypeHolds, []byte("hello"))
		require.ErrorIs(t, err, mesh.ErrNoLink)
		require.False(t, x.link("ada", "bob").Reached())
	})
}

// A process whose address refuses one member takes part while a third one has
// answers of it, and does not when none has. That it has ended is not known.
func TestRefusalNeedsAThirdMembersWord(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := connected(t)
		x.cut("ada", "bob", syscall.ECONNREFUSED)
		time.Sleep(10 * time.Second)
		x.mu.Lock()
		require.Empty(t, x.gone)
		x.mu.Unlock()
		require.True(t, x.link("ada", "bob").Reached())
		x.cut("cyd", "bob", syscall.ECONNREFUSED)
		time.Sleep(2 * time.Second)
		x.mu.Lock()
		require.Empty(t, x.gone, "it still asks")
		x.mu.Unlock()
		x.cut("bob", "ada", syscall.ECONNREFUSED)
		x.cut("bob", "cyd", syscall.ECONNREFUSED)
		time.Sleep(2 * time.Second)
		x.mu.Lock()
		require.Contains(t, x.gone, "bob")
		require.Empty(t, x.ended)
		x.back = nil
		x.broken[[2]string{"cyd", "bob"}] = nil
		x.mu.Unlock()
		time.Sleep(3 * time.Second)
		x.mu.Lock()
		require.Contains(t, x.back, "bob", "a third member reaches it again")
		x.mu.Unlock()
		require.False(t, x.link("ada", "bob").Connected())
	})
}

// Links work with a member when each side's own connection answers. More than
// half is enough, the member itself included.
func TestLinked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := connected(t)
		linked := func() (bool, []string) { return x.meshes["ada"].Linked() }
		enough, broken := linked()
		require.True(t, enough)
		require.Empty(t, broken)
		x.cut("bob", "ada", context.DeadlineExceeded)
		time.Sleep(2 * time.Second)
		require.True(t, x.link("ada", "bob").Connected(), "the other way")
		enough, broken = linked()
		require.True(t, enough, "cyd passes on what bob asks")
		require.Equal(t, []string{"bob"}, broken)
		x.cut("ada", "cyd", context.DeadlineExceeded)
		time.Sleep(2 * time.Second)
		enough, broken = linked()
		require.False(t, enough)
		require.Equal(t, []string{"bob", "cyd"}, broken)
	})
}

// What is no request to pass on is refused, and so is one of a stranger, or one
// that would be passed on twice.
func TestMalformedRelay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := connected(t)
		l := x.link("ada", "cyd")
		name := func(id string) string { return string(rune(len(id))) + id }
		bob, eve := name(membertest.ID("bob", 1).String()), name(membertest.ID("eve", 1).String())
		for _, c := range []struct {
			typ   byte
			frame string
		}{
			{mesh.TypeRelay, ""}, {mesh.TypeRelay, "\x00"}, {mesh.TypeRelay, "\x00\x09bob"}, {mesh.TypeRelay, "\x00\x03bob\x01"}, {mesh.TypeRelay, "\x00" + bob},
			{mesh.TypeRelayed, ""}, {mesh.TypeRelayed, "\xff"}, {mesh.TypeRelayed, bob}, {mesh.TypeRelayed, eve + string(rune(mesh.TypeHolds))},
			{mesh.TypeRelayed, bob + string(rune(mesh.TypeRelay)) + "\x00" + bob}, {mesh.TypeRelayed, bob + string(rune(mesh.TypeRelayed)) + bob},
		} {
			_, err := l.Call(t.Context(), c.typ, []byte(c.frame))
			var refused *peer.RemoteError
			require.ErrorAs(t, err, &refused, "%#x %q", c.typ, c.frame)
		}
		answer, err := l.Call(t.Context(), mesh.TypeRelayed, []byte(bob+string(rune(mesh.TypeHolds))+"x"))
		require.NoError(t, err)
		require.Equal(t, "cyd hears bob, a node: x", string(answer))
		require.True(t, l.Connected())
	})
}

// A node whose links work with too few is isolated. Of two halves the one with
// the first name is not. What gossip alone knows as alive counts.
func TestIsolatedAndUnreached(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := connected(t) // ada, bob, cyd
		is := func(name string) bool {
			isolated, _ := x.meshes[name].Isolated()
			return isolated
		}
		for name := range x.meshes {
			require.False(t, is(name), name)
		}
		x.cut("ada", "cyd", context.DeadlineExceeded)
		x.cut("bob", "cyd", context.DeadlineExceeded)
		time.Sleep(4 * time.Second)
		require.False(t, x.link("ada", "cyd").Unreached())
		time.Sleep(6 * time.Second)
		require.True(t, x.link("ada", "cyd").Unreached())
		since, unreached := x.meshes["ada"].Unreached(x.link("ada", "cyd").ID())
		require.True(t, unreached)
		require.Less(t, since, 2*time.Second)
		require.False(t, x.link("cyd", "ada").Unreached(), "the other direction works")
		require.Equal(t, []bool{false, false, true}, []bool{is("ada"), is("bob"), is("cyd")})
		_, broken := x.meshes["cyd"].Isolated()
		require.Equal(t, []string{"ada", "bob"}, broken)

		x.cut("ada", "bob", context.DeadlineExceeded)
		time.Sleep(10 * time.Second)
		require.True(t, is("ada"), "with nobody, of three")
	})
}
