package redis

import (
	"bytes"
	"fmt"
	"io"
	"testing"

	"github.com/seed-95a32959/holdfast/internal/resp"
)

// BenchmarkCostPerArgument shows what an argument of the endpoint's own
// commands costs, and of those that it takes apart. It must not grow with their
// number.
func BenchmarkCostPerArgument(b *testing.B) {
	numbered := func(words ...string) func(i int) []string {
		return func(i int) []string {
			of := make([]string, len(words))
			for j, w := range words {
				of[j] = w
				if w[len(w)-1] == '#' {
					of[j] = fmt.Sprint(w, i)
				}
			}
			return of
		}
	}
	for _, cost := range []struct {
		name string
		head []string
		each func(i int) []string
		most int
	}{
		{"mget", []string{"MGET"}, numbered("k#"), 100_000},
		{"mget one key", []string{"MGET"}, numbered("k"), 100_000},
		{"mset", []string{"MSET"}, numbered("k#", "v"), 100_000},
		{"del", []string{"DEL"}, numbered("k#"), 100_000},
		{"watch", []string{"WATCH"}, numbered("k#"), 10_000},
		{"subscribe", []string{"SUBSCRIBE"}, numbered("c#"), 10_000},
		{"unsubscribe", []string{"UNSUBSCRIBE"}, numbered("c#"), 100_000},
		{"psubscribe", []string{"PSUBSCRIBE"}, numbered("c*#"), 1_000},
		{"pubsub numsub", []string{"PUBSUB", "NUMSUB"}, numbered("c#"), 100_000},
		{"script exists", []string{"SCRIPT", "EXISTS"}, numbered("s#"), 100_000},
		{"getkeys", []string{"COMMAND", "GETKEYS", "MGET"}, numbered("k#"), 100_000},
		{"client list", []string{"CLIENT", "LIST", "ID"}, numbered("1"), 100_000},
		{"client kill", []string{"CLIENT", "KILL"}, numbered("ID", "99", "TYPE", "pubsub"), 100_000},
		{"info", []string{"INFO"}, numbered("x#"), 100_000},
		{"hello", []string{"HELLO", "3"}, numbered("SETNAME", "me"), 100_000},
		{"unknown", []string{"NOSUCH"}, numbered("x#"), 100_000},
	} {
		for n := 100; n <= cost.most; n *= 10 {
			b.Run(fmt.Sprintf("%s/%d", cost.name, n), func(b *testing.B) {
				words := cost.head
				for i := range n {
					words = append(words, cost.each(i)...)
				}
				sent := resp.AppendCommand(nil, words...)
				s, _ := open(b)
				for b.Loop() {
					newConn(s, &tape{said: io.Reader(bytes.NewReader(sent))}).serve()
				}
				b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(n), "ns/arg")
				b.ReportMetric(0, "ns/op")
			})
		}
	}
}
