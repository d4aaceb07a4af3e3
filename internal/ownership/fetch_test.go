package ownership

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/seed-95a32959/holdfast/internal/member"
)

// A partition is warm when all has been fetched that its sources have; only
// then, and only if it is still served by the claim that it was fetched for.
func TestFetched(t *testing.T) {
	t.Parallel()
	n, b, c := still("a"), id("b", 1), id("c", 1)
	n.see(up("b", 1), up("c", 1))
	n.fetching(3, 5, b, c)
	sources, epoch, fetching := n.Sources(3)
	require.Equal(t, []member.ID{b, c}, sources)
	require.EqualValues(t, 5, epoch)
	require.True(t, fetching)
	sources[0] = c
	again, _, _ := n.Sources(3)
	require.Equal(t, []member.ID{b, c}, again, "the caller's are its own")

	n.Fetched(3, 4)
	require.Equal(t, Fetching, n.gate.Phase(3), "that was for an earlier claim")
	n.Fetched(3, 5)
	require.Equal(t, Warm, n.gate.Phase(3))
	sources, epoch, fetching = n.Sources(3)
	require.Empty(t, sources)
	require.EqualValues(t, 5, epoch)
	require.False(t, fetching)

	n.fetching(4, 5, b)
	n.do(n.Ponged(n.now, n.now, b, "", only(4, Claim{6, b}), true))
	n.Fetched(4, 6)
	require.Equal(t, Away, n.gate.Phase(4), "it is another's by now")
	sources, _, fetching = n.Sources(4)
	require.Empty(t, sources)
	require.False(t, fetching)
}

// While no source can be reached, what is served is unverified: a source may
// come back with more.
func TestUnreached(t *testing.T) {
	t.Parallel()
	n, b := still("a"), id("b", 1)
	n.see(up("b", 1))
	unverified := func() bool { return n.gate.Decide(3, n.now).Unverified }
	n.serving(3, 4)
	require.False(t, n.SetUnreached(3, 4, nil, []member.ID{b}, nil), "it is not being fetched")
	require.False(t, unverified())

	n.fetching(3, 5, b)
	require.False(t, n.SetUnreached(3, 4, nil, []member.ID{b}, nil), "that was for an earlier claim")
	require.False(t, unverified())
	require.True(t, n.SetUnreached(3, 5, nil, []member.ID{b}, nil))
	require.True(t, unverified())
	require.False(t, n.SetUnreached(3, 5, []member.ID{b}, nil, nil), "it is back")
	require.False(t, unverified())
	require.True(t, n.SetUnreached(3, 5, nil, []member.ID{b}, nil))
	n.Fetched(3, 5)
	require.False(t, unverified(), "all sources were reached, or have ended")

	// What is unverified because the copies are elsewhere is no more certain
	// when the sources that there are have been reached.
	n.fetching(3, 6, b)
	n.setUnsure(3, unsure{elsewhere: true})
	require.False(t, n.SetUnreached(3, 6, []member.ID{b}, nil, nil))
	require.True(t, unverified())
	require.True(t, n.SetUnreached(3, 6, nil, []member.ID{b}, nil))
	require.False(t, n.SetUnreached(3, 6, []member.ID{b}, nil, nil))
	require.True(t, unverified())
	require.True(t, n.SetUnreached(3, 6, nil, []member.ID{b}, nil))
	n.Fetched(3, 6)
	require.True(t, unverified())
}

// The owner who gave a partition up had all there was. Where nobody did, each
// source may have what the others do not.
func TestSilentSourceMayHaveMore(t *testing.T) {
	t.Parallel()
	b, c, d := id("b", 1), id("c", 1), id("d", 1)
	for name, x := range map[string]struct {
		giver         member.ID
		heard, silent []member.ID
		more          bool
	}{
		"all were heard":                        {heard: []member.ID{b, c}},
		"one is silent":                         {heard: []member.ID{b}, silent: []member.ID{c}, more: true},
		"one is silent, and not the giver":      {giver: b, heard: []member.ID{b}, silent: []member.ID{c}},
		"the giver is silent":                   {giver: b, heard: []member.ID{c}, silent: []member.ID{b}, more: true},
		"the giver has ended, another is heard": {giver: b, heard: []member.ID{c}},
		"the giver has ended":                   {giver: b, silent: []member.ID{c}, more: true},
		"the giver had what is here":            {giver: d, silent: []member.ID{b, c}},
	} {
		t.Run(name, func(t *testing.T) {
			n := still("a")
			n.see(up("b", 1), up("c", 1), up("d", 1))
			n.fetching(3, 5, b, c)
			n.parts[3].giver = x.giver
			require.Equal(t, x.more, n.SetUnreached(3, 5, x.heard, x.silent, nil))
			require.Equal(t, x.more, n.gate.Decide(3, n.now).Unverified)
			n.Fetched(3, 5)
			require.Zero(t, n.parts[3].giver)
		})
	}
}

// A source that has ended before it gave what it had is what the claim went by.
// Who is out of reach may have the same.
func TestSourceThatEnds(t *testing.T) {
	t.Parallel()
	a, b, c := id("a", 1), id("b", 1), id("c", 1)
	for name, x := range map[string]struct {
		others       []*member.Member
		giver        member.ID
		heard, ended []member.ID
		more         bool
	}{
		"nobody is out of reach":          {others: []*member.Member{refused("b", 1), up("c", 1)}, ended: []member.ID{b}},
		"another may be alive":            {others: []*member.Member{refused("b", 1), dead("c", 1)}, ended: []member.ID{b}, more: true},
		"another has ended":               {others: []*member.Member{refused("b", 1), refused("c", 1)}, ended: []member.ID{b, c}},
		"the other has given what it had": {others: []*member.Member{refused("b", 1), dead("c", 1)}, heard: []member.ID{c}, ended: []member.ID{b}},
		"it was not the giver":            {others: []*member.Member{refused("b", 1), dead("c", 1)}, giver: c, heard: []member.ID{c}, ended: []member.ID{b}},
		"what it had is here":             {others: []*member.Member{refused("b", 1), dead("c", 1)}, giver: a, ended: []member.ID{b}},
		"it was the giver":                {others: []*member.Member{refused("b", 1), dead("c", 1)}, giver: b, ended: []member.ID{b}, more: true},
	} {
		t.Run(name, func(t *testing.T) {
			n := still("a")
			n.see(up("b", 1), up("c", 1))
			n.fetching(3, 5, b, c)
			n.parts[3].giver = x.giver
			n.see(x.others...)
			require.False(t, n.SetUnreached(3, 5, x.heard, nil, x.ended), "none is waited for")
			require.Equal(t, x.more, n.gate.Decide(3, n.now).Unverified)
			n.Fetched(3, 5)
			require.Equal(t, x.more, n.gate.Decide(3, n.now).Unverified)
		})
	}
}
