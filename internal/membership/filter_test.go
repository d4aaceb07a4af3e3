package membership

import (
	"bytes"
	"compress/lzw"
	"encoding/binary"
	"io"
	"net"
	"runtime"
	"testing"
	"testing/iotest"
	"time"

	"github.com/hashicorp/memberlist"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/seed-95a32959/holdfast/internal/metric"
)

// bomb is a compressed message of memberlist's that grows to so many bytes.
func bomb(t testing.TB, size int) []byte {
	t.Helper()
	var packed bytes.Buffer
	w := lzw.NewWriter(&packed, lzw.LSB, 8)
	_, err := w.Write(make([]byte, size))
	require.NoError(t, err)
	require.NoError(t, w.Close())
	b := append([]byte{gossipCompressed}, "\x82\xa4Algo\x00\xa3Buf\xc6"...)
	b = binary.BigEndian.AppendUint32(b, uint32(packed.Len()))
	return append(b, packed.Bytes()...)
}

func labelled(b []byte) []byte {
	return append(append([]byte{gossipLabel, 8}, "holdfast"...), b...)
}

func compound(parts ...[]byte) []byte {
	b := []byte{gossipCompound, byte(len(parts))}
	for _, p := range parts {
		b = binary.BigEndian.AppendUint16(b, uint16(len(p)))
	}
	return append(b, bytes.Join(parts, nil)...)
}

func summed(b []byte) []byte { return append([]byte{gossipChecked, 1, 2, 3, 4}, b...) }

func TestPacketsThatNoMemberSends(t *testing.T) {
	t.Parallel()
	small, ping := bomb(t, 1000), []byte{gossipPing, 0x80}
	for name, c := range map[string]struct {
		packet []byte
		why    string
	}{
		"a message":                  {ping, ""},
		"with a label":               {labelled(ping), ""},
		"two in one":                 {labelled(summed(compound(ping, ping))), ""},
		"compressed":                 {small, "compressed"},
		"with a label, compressed":   {labelled(small), "compressed"},
		"with a checksum":            {labelled(summed(small)), "compressed"},
		"compressed among others":    {labelled(summed(compound(ping, small, ping))), "compressed"},
		"a compound in a compound":   {compound(ping, compound(small)), "malformed"},
		"nothing":                    {nil, "malformed"},
		"a label alone":              {labelled(nil), "malformed"},
		"half a label":               {labelled(nil)[:5], "malformed"},
		"a compound of more than is": {compound(ping, ping)[:8], "malformed"},
		"a compound of nothing":      {[]byte{gossipCompound}, "malformed"},
	} {
		f := &filter{refused: new(gossipRefusals)}
		require.Equal(t, c.why == "", f.takes(c.packet), name)
		counts := f.refused.byReason()
		for why, count := range counts {
			require.Equal(t, why == c.why, count == 1, "%s: %s", name, why)
		}
		f.encrypted = true
		require.True(t, f.takes(c.packet), "whoever has no key cannot send it")
	}
}

// memberHead is what a list of members begins with.
func memberHead(nodes, user string) []byte {
	return []byte("\x06\x83\xa4Join\xc2\xa5Nodes" + nodes + "\xacUserStateLen" + user)
}

func TestStreamsThatNoMemberSends(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		stream []byte
		why    string
	}{
		"a ping":                         {[]byte{gossipPing, 0x80}, ""},
		"an encrypted message":           {[]byte{gossipEncrypted, 0, 0, 0, 1}, ""},
		"a list of members":              {memberHead("\x03", "\x00"), ""},
		"a long list of members":         {memberHead("\xcd\x04\x00", "\x00"), ""},
		"compressed":                     {bomb(t, 1000), "compressed"},
		"a list of a million members":    {memberHead("\xce\x00\x10\x00\x00", "\x00"), "malformed"},
		"of twice as many as can be":     {memberHead("\xcd\x20\x00", "\x00"), "malformed"},
		"and of something else":          {memberHead("\x01", "\xce\x01\x00\x00\x00"), "malformed"},
		"a negative number of them":      {memberHead("\xff", "\x00"), "malformed"},
		"a list of another kind":         {[]byte("\x06\xdf\xff\xff\xff\xff"), "malformed"},
		"a message of a user of gossip":  {[]byte{8, 0x81}, "malformed"},
		"more than there can be to tell": {append(memberHead("\x03", "\x00"), make([]byte, maxGossipStream)...), "too-large"},
	} {
		for _, stream := range [][]byte{c.stream, labelled(c.stream)} {
			for _, slowly := range []bool{false, true} {
				f := &filter{refused: new(gossipRefusals)}
				near, far := net.Pipe()
				r := io.Reader(&filteredStream{Conn: far, filter: f})
				if slowly && len(stream) < 100 {
					r = iotest.OneByteReader(r)
				}
				go func() {
					_, _ = near.Write(stream)
					near.Close()
				}()
				got, err := io.ReadAll(r)
				far.Close()
				if c.why == "" {
					require.NoError(t, err, name)
					require.Equal(t, stream, got, name)
					require.Zero(t, metric.Total(f.refused.byReason()), name)
					continue
				}
				require.Error(t, err, name)
				require.EqualValues(t, 1, f.refused.byReason()[c.why], name)
				require.EqualValues(t, 1, metric.Total(f.refused.byReason()), name)
			}
		}
	}
}

func TestHeadsOfMemberLists(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) { // whatever comes is taken, refused or waited for
		b := rapid.SliceOfN(rapid.Byte(), 1, 60).Draw(t, "bytes")
		memberListHead(b)
		memberListHead(append([]byte("\x83\xa5Nodes"), b...))
	})
	head := memberHead("\xcd\x0f\xff", "\x00")[1:]
	for n := 1; n < len(head); n++ {
		whole, ok := memberListHead(head[:n])
		require.True(t, ok && !whole, "after %d bytes", n)
	}
	whole, ok := memberListHead(head)
	require.True(t, ok && whole)
}

// A stranger's bombs at the gossip port cost no memory, and members join beside
// them.
func TestGossipBombsAreRefusedUnread(t *testing.T) {
	t.Parallel()
	onLoopback := func(name string, seeds ...string) *Members {
		cfg := config(name)
		cfg.Address, cfg.Seeds = "127.0.0.1:0", seeds
		cfg.Transport = func(string) (memberlist.Transport, error) { return nil, nil }
		return gossiping(t, cfg)
	}
	ada := onLoopback("ada")
	packet := labelled(bomb(t, 32<<20))
	require.Less(t, len(packet), 64_000)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	udp, err := net.Dial("udp", ada.gossip.addr)
	require.NoError(t, err)
	defer udp.Close()
	for deadline := time.Now().Add(15 * time.Second); ada.Refused()["compressed"] < 10; time.Sleep(5 * time.Millisecond) {
		require.True(t, time.Now().Before(deadline), "packets are counted")
		_, _ = udp.Write(packet)
	}
	for _, stream := range [][]byte{packet, labelled(memberHead("\xce\x00\x0f\x00\x00", "\x00"))} {
		tcp, err := net.Dial("tcp", ada.gossip.addr)
		require.NoError(t, err)
		defer tcp.Close()
		_, _ = tcp.Write(stream)
		_, _ = io.Copy(io.Discard, tcp) // until it is closed
	}
	runtime.ReadMemStats(&after)
	require.Less(t, after.TotalAlloc-before.TotalAlloc, uint64(64<<20), "one of them alone would have taken that")
	require.GreaterOrEqual(t, ada.Refused()["malformed"], int64(1))

	bob := onLoopback("bob", ada.gossip.addr)
	require.NoError(t, bob.Join(t.Context()))
	bob.Update()
	require.NotNil(t, bob.View().Named("ada"))
}
