package router_test

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/seed-95a32959/holdfast/router"
)

// BenchmarkProxy sends requests through a Router to a member on loopback TCP.
// Client and member are bare sockets with canned bytes, so that nearly all of
// the processor time (cpu-ns/op, user and system of the whole process) is the
// Router's and its server's.
func BenchmarkProxy(b *testing.B) {
	_, cookie := finder(string(secret)).Find(request("/", remote))
	for _, c := range []struct{ name, request string }{
		{"GET", "GET /v1/sessions/alice HTTP/1.1\r\nHost: x\r\n\r\n"},
		{"PUT300", "PUT /v1/sessions/alice HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 300\r\n\r\n" + strings.Repeat("x", 300)},
		{"app", fmt.Sprintf("GET /cart HTTP/1.1\r\nHost: x\r\nCookie: %s=%s\r\nAccept: */*\r\nUser-Agent: bench\r\n\r\n", cookie.Name, cookie.Value)},
	} {
		b.Run(c.name, func(b *testing.B) {
			answer := "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 300\r\n\r\n" + strings.Repeat("y", 300)
			f := open(b, router.Config{
				Lookup: fixed(canned(b, answer), router.Target{}), Hops: kept{[]*router.HopKey{router.NewHopKey(secret, "r", "me")}},
				Fence: func(string, router.Target) string { return "512/17/1700000000000" },
			})
			b.ReportAllocs()
			before := processorTime(b)
			b.ResetTimer()
			b.RunParallel(func(pb *testing.PB) {
				conn, err := net.Dial("tcp", strings.TrimPrefix(f.url, "http://"))
				if err != nil {
					b.Error(err)
					return
				}
				defer conn.Close()
				buf := make([]byte, 4<<10)
				for pb.Next() {
					if _, err := io.WriteString(conn, c.request); err != nil {
						b.Error(err)
						return
					}
					if err := readAnswer(conn, buf); err != nil {
						b.Error(err)
						return
					}
				}
			})
			b.StopTimer()
			b.ReportMetric(float64(processorTime(b)-before)/float64(b.N), "cpu-ns/op")
			require.Zero(b, f.Stats().Errors)
		})
	}
}

// readAnswer reads one answer with a body of 300 bytes.
func readAnswer(conn net.Conn, buf []byte) error {
	n := 0
	for {
		m, err := conn.Read(buf[n:])
		if err != nil {
			return err
		}
		n += m
		if i := bytes.Index(buf[:n], []byte("\r\n\r\n")); i >= 0 && n >= i+4+300 {
			return nil
		}
	}
}

// canned is a member that answers each request, however long, with the same
// bytes. It relies on a request coming in one piece.
func canned(b *testing.B, answer string) router.Target {
	target, _ := script(b, "owner", func(conn net.Conn) {
		buf := make([]byte, 4<<10)
		for {
			if _, err := conn.Read(buf); err != nil {
				return
			}
			if _, err := io.WriteString(conn, answer); err != nil {
				return
			}
		}
	})
	return target
}

func processorTime(b *testing.B) int64 {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return u.Utime.Nano() + u.Stime.Nano()
}
