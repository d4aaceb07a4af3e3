package http1

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"net/http"
	"net/textproto"
	"strconv"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// failer is what a test, a fuzz target and a property have in common.
type failer interface {
	require.TestingT
	Fatalf(format string, args ...any)
}

// outcome is all that was read of one request.
type outcome struct {
	Method, Target, Host string
	Length               int64
	Close                bool
	Fields, Trailer      http.Header
	Body                 string
	Rest                 string // behind the request
}

// ours reads one request as this package does.
func ours(src io.Reader) (outcome, error) {
	r := NewReader(src)
	var req Request
	if err := r.ReadRequest(&req); err != nil {
		return outcome{}, err
	}
	o := outcome{
		Method: string(req.Method), Target: string(req.Target), Host: string(req.Host), Length: req.Length, Close: req.Close,
		Fields: header(req.Fields), Trailer: http.Header{},
	}
	body, err := readAll(r, req.Length, &o.Trailer)
	o.Body = body
	if err != nil {
		return o, err
	}
	rest := string(r.Take())
	more, err := io.ReadAll(src)
	o.Rest = rest + string(more)
	return o, err
}

func readAll(r *Reader, length int64, trailer *http.Header) (string, error) {
	var all []byte
	var b Body
	b.Reset(r, length)
	for {
		p, err := b.Next()
		if err == io.EOF {
			*trailer = header(b.Trailer())
			return string(all), nil
		}
		if err != nil {
			return string(all), err
		}
		all = append(all, p...)
	}
}

func header(fields []Field) http.Header {
	h := http.Header{}
	for _, f := range fields {
		switch f.Kind {
		case Host, TransferEncoding, Trailer: // net/http keeps them apart
		default:
			h.Add(string(f.Name), string(f.Value))
		}
	}
	return h
}

// theirs reads one request as net/http does.
func theirs(input []byte) (outcome, error) {
	src := bytes.NewReader(input)
	buf := bufio.NewReader(src)
	req, err := http.ReadRequest(buf)
	if err != nil {
		return outcome{}, err
	}
	body, err := io.ReadAll(req.Body)
	if err != nil {
		return outcome{}, err
	}
	o := outcome{
		Method: req.Method, Target: req.RequestURI, Host: req.Host, Length: req.ContentLength, Close: req.Close,
		Fields: req.Header, Trailer: http.Header{}, Body: string(body),
	}
	for name, values := range req.Trailer {
		if values != nil { // announced and come
			o.Trailer[name] = values
		}
	}
	rest, err := io.ReadAll(buf)
	o.Rest = string(rest)
	return o, err
}

var seeds = []string{
	"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
	"GET http://x/a?b HTTP/1.1\r\nHost: x\r\nA: 1\r\na: 2\r\n\r\nGET",
	"POST /{a}%20 HTTP/1.1\r\nHost: [::1]:80\r\nContent-Length: 3\r\n\r\nabcdef",
	"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nTrailer: A\r\n\r\n3;x=\"y\"\r\nabc\r\n0\r\nA: b\r\n\r\nrest",
	"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\nabc",
	"GET / HTTP/1.0\r\nConnection: keep-alive, a\r\nA: b\r\n\r\n",
	"OPTIONS * HTTP/1.1\r\nHost: \r\nExpect: 100-continue\r\n\r\n",
	"GET / HTTP/1.1\nHost: x\n\n", "GET / HTTP/1.1\r\nHost: x\r\n folded\r\n\r\n", "GET / HTTP/1.1\r\nHost : x\r\n\r\n",
}

// Whatever is accepted here, net/http reads in the same way, down to the byte
// at which the next request begins.
func FuzzRequest(f *testing.F) {
	for _, s := range seeds {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, input []byte) { requireAgreement(t, input) })
}

// The same for requests put together from what good and bad ones are made of,
// of which more are accepted than of random bytes.
func TestAgreement(t *testing.T) {
	accepted := 0
	rapid.Check(t, func(t *rapid.T) {
		var input []byte
		for _, part := range rapid.SliceOfN(rapid.SampledFrom(parts), 0, 8).Draw(t, "parts") {
			input = append(input, part...)
		}
		input = append([]byte(rapid.SampledFrom(lines).Draw(t, "line")), input...)
		input = append(input, rapid.SampledFrom(bodies).Draw(t, "body")...)
		if requireAgreement(t, input) {
			accepted++
		}
	})
	require.Greater(t, accepted, 5, "of a hundred")
}

var (
	lines = []string{
		"GET / HTTP/1.1\r\nHost: x\r\n", "POST /a?b HTTP/1.1\r\nHost: x\r\n", "POST http://X/a HTTP/1.1\r\nHost: x\r\n", "HEAD / HTTP/1.0\r\n",
		"GET / HTTP/1.1\r\n", "GET /%zz HTTP/1.1\r\nHost: x\r\n", "OPTIONS * HTTP/1.1\r\nHost: x:1\r\n", "GET / HTTP/1.1\nHost: x\r\n",
	}
	parts = []string{
		"Content-Length: 3\r\n", "Content-Length: 03\r\n", "content-length:3\r\n", "Content-Length: +3\r\n", "Content-Length: 3,3\r\n", "Content-Length: \r\n",
		"Transfer-Encoding: chunked\r\n", "transfer-encoding:\tChunked \r\n", "Transfer-Encoding: identity\r\n", "Transfer-Encoding: gzip, chunked\r\n",
		"Connection: close\r\n", "Connection: keep-alive, A\r\n", "A: 1\r\n", "a: 2\r\n", "A:\r\n", " A: 1\r\n", "A : 1\r\n", "A: \xff\x00\r\n", "A: \xff\r\n", "A\r\n",
		"Host: x\r\n", "Expect: 100-continue\r\n", "Trailer: A\r\n", "Trailer: Content-Length\r\n", "Upgrade: h2c\r\n", "A: 1\rB: 2\r\n", "A: 1\nB: 2\r\n",
	}
	bodies = []string{
		"\r\n", "\r\nabc", "\r\nabcGET / HTTP/1.1\r\n\r\n", "\r\n3\r\nabc\r\n0\r\n\r\n", "\r\n03;a=b\r\nabc\r\n0\r\nA: c\r\n\r\nrest", "\r\n3\nabc\r\n0\r\n\r\n",
		"\r\n3\r\nabc\r\n0\r\n\r\nGET /evil HTTP/1.1\r\n", "\r\n0x3\r\nabc\r\n0\r\n\r\n", "\r\n0\r\n\r\n", "\r\n1\r\nabc\r\n0\r\n\r\n", "\n", "",
	}
)

// requireAgreement reports whether a request is accepted, and fails if net/http
// reads another one in it.
func requireAgreement(t failer, input []byte) bool {
	got, err := ours(bytes.NewReader(input))
	if err != nil {
		requireHonest(t, err)
		return false
	}
	want, err := theirs(input)
	if err != nil {
		t.Fatalf("%q is taken here as %+v, and net/http refuses it: %v", input, got, err)
	}
	if _, rest, ok := strings.Cut(want.Target, "://"); ok && got.Target[0] == '/' && want.Target[0] != '/' {
		// An absolute target is brought into the other form here.
		want.Target = "/" + strings.TrimPrefix(strings.TrimPrefix(rest, want.Host), "/")
		got.Host = want.Host // net/http takes it from the target, in whatever case that has
	}
	if got.Fields.Get("Connection") != "" {
		want.Close = got.Close // net/http looks for fewer words in it
	}
	delete(want.Fields, "Trailer")
	require.Equal(t, want, got, "%q", input)
	return true
}

// requireHonest checks that an error is one of those promised.
func requireHonest(t failer, err error) {
	var refused *Error
	switch {
	case errors.As(err, &refused):
		require.Contains(t, []int{400, 414, 417, 431, 501, 505}, refused.Status)
	case err == io.EOF, err == io.ErrUnexpectedEOF, err == io.ErrNoProgress:
	default:
		t.Fatalf("an error of no kind: %v", err)
	}
}

// How the bytes arrive changes nothing.
func FuzzPieces(f *testing.F) {
	for _, s := range seeds {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, input []byte) {
		whole, err := ours(bytes.NewReader(input))
		pieces, err2 := ours(iotest.OneByteReader(bytes.NewReader(input)))
		if (err == nil) != (err2 == nil) {
			t.Fatalf("%q: %v at once, %v byte by byte", input, err, err2)
		}
		if err == nil {
			require.Equal(t, whole, pieces)
		}
	})
}

// An answer that is accepted has the framing that net/http sees.
func FuzzResponse(f *testing.F) {
	for _, s := range []string{
		"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc", "HTTP/1.1 200 \r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
		"HTTP/1.0 404 Not Found\r\n\r\nuntil the end", "HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n", "HTTP/1.1 204\r\n\r\n",
		"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
	} {
		f.Add([]byte(s), false)
		f.Add([]byte(s), true)
	}
	f.Fuzz(func(t *testing.T, input []byte, head bool) {
		r := NewReader(bytes.NewReader(input))
		var resp Response
		if err := r.ReadResponse(&resp, head); err != nil {
			requireHonest(t, err)
			return
		}
		var trailer http.Header
		body, err := readAll(r, resp.Length, &trailer)
		if err != nil {
			requireHonest(t, err)
			return
		}
		method := "GET"
		if head {
			method = "HEAD"
		}
		want, err := http.ReadResponse(bufio.NewReader(bytes.NewReader(input)), &http.Request{Method: method})
		if err != nil {
			t.Fatalf("%q is taken here, and net/http refuses it: %v", input, err)
		}
		wantBody, err := io.ReadAll(want.Body)
		require.NoError(t, err, "%q", input)
		require.Equal(t, want.StatusCode, resp.Status)
		require.Equal(t, string(wantBody), body, "%q", input)
	})
}

func TestLimits(t *testing.T) {
	for name, c := range map[string]struct {
		input  string
		status int
	}{
		"first line": {"GET /" + strings.Repeat("a", MaxHead), 414},
		"head":       {"GET / HTTP/1.1\r\nHost: x\r\nA: " + strings.Repeat("a", MaxHead), 431},
		"fields":     {"GET / HTTP/1.1\r\n" + strings.Repeat("A: 1\r\n", MaxFields+1) + "\r\n", 431},
		"trailer":    {"GET / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n" + strings.Repeat("A: 1\r\n", maxTail/6+1) + "\r\n", 431},
	} {
		_, err := ours(strings.NewReader(c.input))
		var refused *Error
		require.ErrorAs(t, err, &refused, name)
		require.Equal(t, c.status, refused.Status, "%s: %s", name, refused.Reason)
	}
}

// Many requests in one stream come out as they went in, however large their
// bodies are and however they arrive.
func TestStream(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var stream []byte
		bodies := rapid.SliceOfN(rapid.SliceOfN(rapid.Byte(), 0, 3000), 1, 5).Draw(t, "bodies")
		for i, body := range bodies {
			stream = append(stream, "POST / HTTP/1.1\r\nHost: x\r\n"...)
			if rapid.Bool().Draw(t, "chunked") {
				stream = append(stream, "Transfer-Encoding: chunked\r\n\r\n"...)
				for len(body) > 0 {
					n := rapid.IntRange(1, len(body)).Draw(t, "chunk")
					stream = AppendChunk(stream, body[:n])
					body = body[n:]
				}
				stream = append(AppendField(append(stream, "0\r\n"...), "N", strconv.Itoa(i)), "\r\n"...)
				continue
			}
			stream = append(AppendField(stream, "Content-Length", strconv.Itoa(len(body))), "\r\n"...)
			stream = append(stream, body...)
		}
		step := rapid.IntRange(1, 5000).Draw(t, "step")
		r := NewReader(&steps{stream, step})
		var req Request
		for i, body := range bodies {
			if err := r.ReadRequest(&req); err != nil {
				t.Fatal(err)
			}
			var trailer http.Header
			got, err := readAll(r, req.Length, &trailer)
			if err != nil || got != string(body) || req.Length == Chunked && trailer.Get("N") != strconv.Itoa(i) {
				t.Fatalf("body %d: %d of %d bytes, trailer %v: %v", i, len(got), len(body), trailer, err)
			}
		}
		if err := r.ReadRequest(&req); err != io.EOF {
			t.Fatalf("behind the last request: %v", err)
		}
	})
}

type steps struct {
	left []byte
	step int
}

func (s *steps) Read(p []byte) (int, error) {
	if len(s.left) == 0 {
		return 0, io.EOF
	}
	n := copy(p[:min(len(p), s.step)], s.left)
	s.left = s.left[n:]
	return n, nil
}

// The slices of a head stay what they are while its body is read.
func TestHeadOutlivesBuffer(t *testing.T) {
	body := strings.Repeat("x", 100_000)
	r := NewReader(strings.NewReader("PUT /key HTTP/1.1\r\nHost: x\r\nA: value\r\nContent-Length: 100000\r\n\r\n" + body))
	var req Request
	require.NoError(t, r.ReadRequest(&req))
	var trailer http.Header
	got, err := readAll(r, req.Length, &trailer)
	require.NoError(t, err)
	require.Equal(t, body, got)
	require.Equal(t, "PUT /key", string(req.Method)+" "+string(req.Target))
	value, ok := Get(req.Fields, "a")
	require.True(t, ok)
	require.Equal(t, "value", string(value))
}

func TestConnectionNamesFields(t *testing.T) {
	r := NewReader(strings.NewReader("GET / HTTP/1.1\r\nHost: x\r\nConnection: a,, close ,B\r\nA: 1\r\nb: 2\r\nC: 3\r\n\r\n"))
	var req Request
	require.NoError(t, r.ReadRequest(&req))
	require.True(t, req.Close)
	var left []string
	for _, f := range req.Fields {
		if !f.Kind.HopByHop() {
			left = append(left, textproto.CanonicalMIMEHeaderKey(string(f.Name)))
		}
	}
	require.Equal(t, []string{"Host", "C"}, left)
}

func BenchmarkReadRequest(b *testing.B) {
	one := []byte("GET /cart?x=1 HTTP/1.1\r\nHost: shop.example\r\nUser-Agent: Mozilla/5.0 (X11; Linux x86_64)\r\nAccept: text/html,*/*\r\n" +
		"Accept-Language: en\r\nAccept-Encoding: gzip, deflate\r\nCookie: holdfast=AAAAAAAAAAAAAAAAAAAAAAAA.BBBBBBBBBBBBBBBBBBBBBB\r\nConnection: keep-alive\r\n\r\n")
	var src bytes.Reader
	r := NewReader(&src)
	var req Request
	b.SetBytes(int64(len(one)))
	b.ReportAllocs()
	for b.Loop() {
		src.Reset(one)
		if err := r.ReadRequest(&req); err != nil {
			b.Fatal(err)
		}
	}
}
