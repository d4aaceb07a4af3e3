package main

import (
	"bytes"
	"compress/lzw"
	"encoding/binary"
	"encoding/json"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed-95a32959/holdfast/internal/adminapi"
	"github.com/seed-95a32959/holdfast/internal/resp"
	"github.com/seed-95a32959/holdfast/ring"
	"github.com/seed-95a32959/holdfast/test/internal/nursery"
)

func TestFlat(t *testing.T) {
	var fields map[string]int
	require.NoError(t, json.Unmarshal([]byte(flat(1000, "7")), &fields))
	require.Len(t, fields, 1000)
	require.Equal(t, 7, fields["f00999"])
	require.Equal(t, 770_001, len(flat(manyFields, "0")))
	require.Equal(t, []string{"a", "v", "b", "v"}, pairs([]string{"a", "b"}, "v", false))
	require.Equal(t, []string{"1", "a", "1", "b"}, pairs([]string{"a", "b"}, "1", true))
}

// Every expensive request is well formed, or it would be refused for that.
func TestCostlies(t *testing.T) {
	seen := make(map[string]bool)
	for _, c := range costlies() {
		require.False(t, seen[c.name], "%s twice", c.name)
		seen[c.name] = true
		if c.web {
			_, body, ok := strings.Cut(string(c.bytes), "\r\n\r\n")
			require.True(t, ok)
			require.Less(t, len(body), mebibyte, c.name) // -max-session
			require.True(t, json.Valid([]byte(body)), c.name)
			continue
		}
		r := resp.NewReader(bytes.NewReader(c.bytes), resp.Limits{MaxArgs: 1 << 20, MaxBulk: 2 * mebibyte, MaxQuery: 8 * mebibyte})
		n := 0
		for {
			args, err := r.Next()
			require.NoError(t, err, c.name)
			if args != nil {
				n++
			} else if err := r.Fill(); err != nil {
				require.ErrorIs(t, err, io.EOF, c.name)
				break
			}
		}
		require.Positive(t, n, c.name)
		require.Zero(t, r.Buffered(), c.name)
	}
}

func TestGossipBomb(t *testing.T) {
	b, err := gossipBomb()
	require.NoError(t, err)
	require.Less(t, len(b), 65_507, "has to fit into one datagram")
	at := bytes.Index(b, []byte("\xa3Buf"))
	require.Positive(t, at)
	size := int(binary.BigEndian.Uint16(b[at+5:]))
	packed := b[at+7:]
	require.Len(t, packed, size)
	n, err := io.Copy(io.Discard, lzw.NewReader(bytes.NewReader(packed), lzw.LSB, 8))
	require.NoError(t, err)
	require.EqualValues(t, 80*mebibyte, n)
}

func TestClaim(t *testing.T) {
	var r adminapi.Ring
	require.NoError(t, json.Unmarshal([]byte(`{"fingerprint":"92bc","members":[{"name":"a","boot":"1","role":"node"},{"name":"r","boot":"2","role":"router"}]}`), &r))
	b := claim(5000, r)
	require.Equal(t, uint64(5000), binary.BigEndian.Uint64(b))
	require.Equal(t, "\x0492bc\x01\x03a~1", string(b[8:18]))
	require.Len(t, b, 18+2*ring.Partitions)

	require.Len(t, guises(r), 6)
	answer := func(status byte, claimant string) []byte {
		return append(append([]byte{status}, make([]byte, 24)...), append([]byte{byte(len(claimant))}, claimant...)...)
	}
	b = append(append(answer(1, ""), answer(3, "a~1")...), answer(2, "")...)
	require.Equal(t, 2, accepted(b))
	require.Zero(t, accepted(b[:10]))
	require.Zero(t, accepted(nil))
}

func TestEncode(t *testing.T) {
	require.Equal(t, "GET /a HTTP/1.1\r\nHost: h:1\r\n\r\n", string(request{method: "GET", path: "/a"}.encode("h:1")))
	require.Equal(t, "POST /a HTTP/1.1\r\nHost: evil\r\nContent-Length: 2\r\n\r\n{}", string(request{"POST", "/a", []string{"Host: evil"}, "{}"}.encode("h:1")))
	require.Equal(t, "DELETE /a HTTP/1.1\r\nHost: h:1\r\nContent-Length: 0\r\n\r\n", string(request{method: "DELETE", path: "/a"}.encode("h:1")))
}

func TestOpening(t *testing.T) {
	require.Equal(t, "502", opening("HTTP/1.1 502 Bad Gateway\r\n"))
	require.Equal(t, "-OOM", opening("-OOM command not allowed\r\n"))
	require.Equal(t, "answered", opening("*3\r\n$1\r\n"))
}

// Of what a browser may do and may not, something is served and something
// refused at every address, so that neither a wall nor an open gate passes.
func TestBrowsers(t *testing.T) {
	kinds := make(map[[2]bool]int)
	for _, v := range browsers() {
		kinds[[2]bool{v.port == nursery.AdminPort, v.served}]++
	}
	require.Len(t, kinds, 4)
}

func TestBill(t *testing.T) {
	var b bill
	require.Empty(t, b.top(3))
	b.add("KEYS", time.Second)
	b.add("KEYS", 2*time.Second)
	b.add("PATCH", time.Minute)
	b.add("HDEL", 0)
	require.Equal(t, []string{"1m0s of CPU time during a PATCH", "2s of CPU time during a KEYS"}, b.top(2))
}
