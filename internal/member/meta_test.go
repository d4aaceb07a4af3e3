package member

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/memberlist"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/seed-95a32959/holdfast/ring"
)

var anyID = rapid.Custom(func(t *rapid.T) ID {
	name := rapid.StringMatching(`[a-zA-Z0-9]([a-zA-Z0-9._-]{0,62}[a-zA-Z0-9])?`).Draw(t, "name")
	return ID{name, rapid.StringMatching(`[0-9a-f]{20}`).Draw(t, "boot")}
})

func TestMetaRoundTrip(t *testing.T) {
	short := rapid.StringN(0, 20, 60)
	rapid.Check(t, func(t *rapid.T) {
		m := Meta{
			Role:    rapid.SampledFrom([]Role{RoleNode, RoleRouter}).Draw(t, "role"),
			State:   State(rapid.IntRange(int(StateJoining), int(StateLeaving)).Draw(t, "state")),
			AppDown: rapid.Bool().Draw(t, "app down"), Unfit: rapid.Bool().Draw(t, "unfit"), Keeps: rapid.Bool().Draw(t, "keeps"), Waits: rapid.Bool().Draw(t, "waits"), Mode: rapid.SampledFrom([]string{"", "available", "majority"}).Draw(t, "mode"),
			Pid: rapid.IntRange(0, 1<<31).Draw(t, "pid"), Zone: short.Draw(t, "zone"),
			HTTP: short.Draw(t, "http"), Admin: short.Draw(t, "admin"), RESP: short.Draw(t, "resp"),
			Weight: rapid.SampledFrom([]int{0, ring.LeastWeight, 100, ring.MostWeight}).Draw(t, "weight"),
			Peer:   short.Draw(t, "peer"), Params: short.Draw(t, "params"),
			Secret: rapid.SampledFrom([]string{"", "\x00\x01\xfe\xff"}).Draw(t, "secret"),
		}
		b, err := m.Encode()
		require.NoError(t, err)
		require.LessOrEqual(t, len(b), memberlist.MetaMaxSize)
		got, err := DecodeMeta(b)
		require.NoError(t, err)
		require.Equal(t, m, got)

		for n := range b { // what is cut off is missed, or whole sections are missing
			if cut, err := DecodeMeta(b[:n]); err == nil {
				require.Equal(t, m.Role, cut.Role, "first %d of %d bytes", n, len(b))
				require.Equal(t, m.State, cut.State)
			}
		}
		_, err = DecodeMeta(append(slices.Clone(b), 0))
		require.ErrorIs(t, err, errMeta)
		again, err := DecodeMeta(append(slices.Clone(b), 200, 3, 1, 2, 3))
		require.NoError(t, err)
		require.Equal(t, m, again, "a section of a later version is skipped")
		_, err = DecodeMeta(append(slices.Clone(b), metaRole, 1, 'n'))
		require.ErrorIs(t, err, errMeta, "the same section twice")
	})
}

func TestMetaBounds(t *testing.T) {
	t.Parallel()
	require.Equal(t, memberlist.MetaMaxSize, MaxMeta)
	m := Meta{Role: RoleNode, State: StateReady}
	empty, err := m.Encode()
	require.NoError(t, err)

	m.Zone = strings.Repeat("z", 255)
	m.HTTP = strings.Repeat("h", memberlist.MetaMaxSize-len(empty)-2-255-2)
	full, err := m.Encode()
	require.NoError(t, err)
	require.Len(t, full, memberlist.MetaMaxSize)
	got, err := DecodeMeta(full)
	require.NoError(t, err)
	require.Equal(t, m, got)

	m.HTTP += "h"
	_, err = m.Encode()
	require.ErrorContains(t, err, "513 bytes, accepted are 512")
	_, err = Meta{Zone: strings.Repeat("z", 256)}.Encode()
	require.ErrorContains(t, err, "accepted are 255")

	for _, odd := range []Meta{{Secret: "abc"}, {Weight: ring.LeastWeight - 1}, {Weight: ring.MostWeight + 1}} {
		odd.Role, odd.State = RoleNode, StateReady
		b, err := odd.Encode()
		require.NoError(t, err)
		_, err = DecodeMeta(b)
		require.ErrorIs(t, err, errMeta, "%+v", odd)
	}
}

// The longest that the configuration lets through must fit beside the longest
// addresses of IPv6.
func TestMetaOfLongestConfigurationFits(t *testing.T) {
	t.Parallel()
	address := "[ffff:ffff:ffff:ffff:ffff:ffff:255.255.255.255]:65535"
	_, err := Meta{
		Role: RoleNode, State: StateReady, Pid: 1 << 31, Weight: ring.MostWeight, Zone: strings.Repeat("z", 32), HTTP: address, Admin: address, RESP: address, Peer: address,
		Params: ring.Params{VirtualNodes: 1000, Load: 1.2345678901234567, Copies: 16}.String(),
		Secret: strings.Repeat("x", SecretTagSize),
	}.Encode()
	require.NoError(t, err)
}

// Members of different versions go together if their ranges meet.
func TestMetaOfAnotherWireVersion(t *testing.T) {
	t.Parallel()
	b, err := Meta{Role: RoleNode, State: StateReady}.Encode()
	require.NoError(t, err)
	b[0] = Wire + 2 // whose oldest is ours
	_, err = DecodeMeta(b)
	require.NoError(t, err)
	require.NoError(t, CheckWire(WireOldest, Wire+2))

	for newest := WireOldest; newest <= Wire+2; newest++ {
		b[0] = byte(newest)
		m, err := DecodeMeta(b)
		require.NoError(t, err)
		for v := WireOldest; v <= Wire; v++ {
			require.Equal(t, v <= newest, m.Speaks(v), "one of %d speaks %d", newest, v)
		}
	}
	b[0] = Wire + 2

	b[3] = Wire + 1 // its oldest
	_, err = DecodeMeta(b)
	require.EqualError(t, err, fmt.Sprintf("wire version %d to %d there, %s here: run versions that go together", Wire+1, Wire+2, wires(WireOldest, Wire)))
	require.True(t, IsMismatch(err))
	_, err = DecodeMeta([]byte{WireOldest - 1, 1, 2, 3})
	require.EqualError(t, err, fmt.Sprintf("wire version %d there, %s here: run versions that go together", WireOldest-1, wires(WireOldest, Wire)))
}

func TestParseID(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := anyID.Draw(t, "id")
		got, err := ParseID(want.String())
		require.NoError(t, err)
		require.Equal(t, want, got)
	})
	for _, bad := range []string{"", "a", "a~", "~1", "-a~1", "a b~1", strings.Repeat("a", 65) + "~1"} {
		_, err := ParseID(bad)
		require.ErrorContains(t, err, "must be <name>~<boot>", "%q", bad)
	}
}

// A later boot supersedes an earlier one by the order of the strings alone.
func TestLaterBootIsLarger(t *testing.T) {
	clock := rapid.Int64Range(0, 1<<47)
	rapid.Check(t, func(t *rapid.T) {
		early, late := clock.Draw(t, "early"), clock.Draw(t, "late")
		if early > late {
			early, late = late, early
		}
		a, b := NewID("a", time.UnixMilli(early)), NewID("a", time.UnixMilli(late))
		require.Len(t, a.Boot, 28)
		require.NotEqual(t, a.Boot, b.Boot)
		if early < late {
			require.Less(t, a.Boot, b.Boot)
		}
	})
}

// A member of a version without the section, and one that states nothing, are
// of one weight; their bytes are those of v0.2.0, but for the version.
func TestMetaOfAMemberThatStatesNoWeight(t *testing.T) {
	t.Parallel()
	b, err := Meta{Role: RoleNode, State: StateReady}.Encode()
	require.NoError(t, err)
	sections, err := readSections(b[1:])
	require.NoError(t, err)
	require.NotContains(t, sections, metaWeight)
	require.EqualValues(t, 13, metaWeight, "part of the wire format")
}

func FuzzDecodeMeta(f *testing.F) {
	b, err := Meta{Role: RoleRouter, State: StateReady, Pid: 300, Weight: 250, Zone: "eu", HTTP: "127.0.0.1:8080", Params: "copies=2", Secret: "\x01\x02\x03\x04"}.Encode()
	require.NoError(f, err)
	f.Add(b)
	f.Add([]byte{Wire, metaRole, 1, 'n', metaState, 1, 1, metaPid, 1, 0x80})
	f.Add(append([]byte{Wire, metaZone, 255}, make([]byte, 300)...))
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := DecodeMeta(b)
		if err != nil {
			return
		}
		again, err := m.Encode()
		if err != nil {
			require.Greater(t, len(b), memberlist.MetaMaxSize)
			return
		}
		got, err := DecodeMeta(again)
		require.NoError(t, err)
		require.Equal(t, m, got)
	})
}
