package command

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/seed-95a32959/holdfast/internal/resp"
	"github.com/seed-95a32959/holdfast/ring"
)

func (r *redis) sweep(b *Batch) resp.Value {
	out, err := b.Run(r.store, b.Partition, r.env, nil)
	require.NoError(r.t, err)
	v, err := resp.NewReplyReader(bytes.NewReader(out.Reply), resp.ReplyLimits{}).Read()
	require.NoError(r.t, err)
	r.out = out
	return v
}

func TestScanCountFlush(t *testing.T) {
	r := newRedis(t)
	want := map[string]bool{}
	for i := range 50 {
		key := fmt.Sprintf("{a}%d", i)
		r.do("SET " + key + " v EX 9")
		want[key] = true
	}
	r.do("SADD {a}set m")
	r.do("SET {a}gone v")
	r.do("DEL {a}gone")
	p := ring.Partition("{a}")

	seen, from := map[string]bool{}, uint64(0)
	for more := true; more; {
		page, ok := PageOf(r.sweep(ScanBatch(p, from, 7, "{a}*", "string")))
		require.True(t, ok)
		require.LessOrEqual(t, page.Seen, 8)
		for _, key := range page.Keys {
			require.False(t, seen[key], "once each")
			seen[key] = true
			r.do("SET " + key + " other") // a write moves no key
		}
		from, more = page.Next, page.More
	}
	require.Equal(t, want, seen)
	page, _ := PageOf(r.sweep(ScanBatch(p, 0, 1000, "*[27]", "")))
	require.Len(t, page.Keys, 10)

	require.Equal(t, ":51", strings.TrimSpace(string(r.sweep(CountBatch(p)).Elems[0].Append(nil))))
	require.EqualValues(t, 51, r.sweep(FlushBatch(p)).Int)
	require.Len(t, r.out.Changed, 51)
	require.True(t, r.out.Deleted)
	require.EqualValues(t, 0, r.sweep(CountBatch(p)).Elems[0].Int)
	require.False(t, FlushBatch(p).Repeatable() && !FlushBatch(p).Writes())

	b := FlushBatch(p)
	decoded, err := DecodeBatch(b.Append(nil))
	require.NoError(t, err)
	require.Equal(t, b, decoded)
}

func TestAnswersAreBounded(t *testing.T) {
	r := newRedis(t)
	r.run(&Batch{Commands: [][][]byte{{[]byte("SET"), []byte("k"), make([]byte, 1<<20)}}})
	args := [][]byte{[]byte("MGET")}
	for range 40 {
		args = append(args, []byte("k"))
	}
	require.Equal(t, "-"+string(errAnswer), r.run(&Batch{Commands: [][][]byte{args}}))
	b := &Batch{Multi: true}
	for range 40 {
		b.Commands = append(b.Commands, words("GET k"))
	}
	b.Commands = append(b.Commands, words("SET k v"))
	got := r.run(b)
	require.Less(t, len(got), maxAnswer+2<<20)
	require.Contains(t, got, "-"+string(errAnswer))
	require.Equal(t, "$1 v", r.do("GET k"), "what writes is run all the same")
}
