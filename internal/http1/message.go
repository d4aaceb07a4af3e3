package http1

import (
	"bytes"
	"math"
)

// Lengths of a body that are no count of bytes.
const (
	Chunked int64 = -1 // in chunks, each with its length before it
	ToEnd   int64 = -2 // until the connection ends; answers only
)

// Message is what requests and answers have in common. Its slices are valid
// until the next head is read by the same Reader.
type Message struct {
	Minor   int     // of the version: 0 or 1
	Fields  []Field // in the order received
	Length  int64   // of the body: a count of bytes, Chunked or ToEnd
	Close   bool    // the connection ends after this message
	Upgrade bool    // Connection names Upgrade

	named [][]byte // the fields that Connection names
	coded bool     // there is a Transfer-Encoding
}

// Request is the head of a request.
type Request struct {
	Message
	Method []byte
	Target []byte // path and query, or "*"
	Path   []byte // of the target
	Host   []byte // nil if there is none, which HTTP/1.0 allows
	Expect bool   // the client waits for 100 Continue before it sends the body
}

// Response is the head of an answer.
type Response struct {
	Message
	Status int
	Reason []byte
}

// ReadRequest reads the next request's head. An Error says what was wrong with
// it, and after one the connection has no meaning any more. io.EOF is a
// connection that ended between two requests.
func (b *Reader) ReadRequest(r *Request) error {
	if b.r == b.w && len(b.buf) > firstBuffer {
		b.buf, b.r, b.w = nil, 0, 0 // the next request may be long in coming
	}
	if err := b.readHead(); err != nil {
		return err
	}
	first := bytes.IndexByte(b.head, '\n')
	*r = Request{Message: Message{Fields: r.Fields[:0], named: r.named[:0]}}
	if err := r.parseLine(b.head[:first-1]); err != nil {
		return err
	}
	if err := r.parse(b.head[first+1:]); err != nil {
		return err
	}
	if err := r.parseHost(); err != nil {
		return err
	}
	if r.coded {
		if r.Minor == 0 {
			return malformed("Transfer-Encoding is not known to HTTP/1.0")
		}
		return nil
	}
	r.Length = max(r.Length, 0)
	return nil
}

// parseLine takes the request line apart: exactly one space between its parts.
func (r *Request) parseLine(line []byte) error {
	method, rest, ok1 := bytes.Cut(line, []byte{' '})
	target, version, ok2 := bytes.Cut(rest, []byte{' '})
	if !ok1 || !ok2 || !isToken(method) {
		return malformed("the request line is not method, target and version, with one space between them")
	}
	var err error
	if r.Minor, err = parseVersion(version); err != nil {
		return err
	}
	r.Method, r.Target = method, target
	if len(target) == 0 {
		return malformed("the target is empty")
	}
	for _, c := range target {
		if !inTarget[c] {
			return malformed("the target holds a character that must be escaped")
		}
	}
	return nil
}

func parseVersion(v []byte) (minor int, err error) {
	switch {
	case string(v) == "HTTP/1.1":
		return 1, nil
	case string(v) == "HTTP/1.0":
		return 0, nil
	case len(v) == len("HTTP/1.1") && string(v[:5]) == "HTTP/" && isDigit(v[5]) && v[6] == '.' && isDigit(v[7]):
		return 0, refuse(505, "accepted are HTTP/1.0 and HTTP/1.1")
	}
	return 0, malformed("the version is not HTTP/1.1")
}

// parse takes the fields apart and finds the framing.
func (m *Message) parse(lines []byte) error {
	var err error
	if m.Fields, err = parseFields(m.Fields, lines); err != nil {
		return err
	}
	m.Length = ToEnd
	m.Close = m.Minor == 0
	for _, f := range m.Fields {
		switch f.Kind {
		case ContentLength:
			err = m.setLength(f.Value)
		case TransferEncoding:
			err = m.setCoding(f.Value)
		case Connection:
			EachToken(f.Value, m.name)
		case Trailer:
			err = checkAnnounced(f.Value)
		}
		if err != nil {
			return err
		}
	}
	if m.coded && m.Length != Chunked {
		return malformed("Content-Length and Transfer-Encoding contradict each other")
	}
	if len(m.named) > 0 {
		m.markNamed()
	}
	return nil
}

// setLength reads Content-Length, once: of two, one reader takes the first and
// another the last.
func (m *Message) setLength(v []byte) error {
	if m.Length != ToEnd {
		if m.coded {
			return malformed("Content-Length and Transfer-Encoding contradict each other")
		}
		return malformed("Content-Length is given twice")
	}
	n, ok := parseLength(v)
	if !ok {
		return malformed("Content-Length is no count of bytes in decimal digits")
	}
	m.Length = n
	return nil
}

func parseLength(v []byte) (n int64, ok bool) {
	for _, c := range v {
		if !isDigit(c) || n > (math.MaxInt64-9)/10 {
			return 0, false
		}
		n = n*10 + int64(c-'0')
	}
	return n, len(v) > 0
}

// setCoding reads Transfer-Encoding. Only chunked is understood, and only
// alone: the tricks are in lists, repetitions and odd spellings.
func (m *Message) setCoding(v []byte) error {
	switch {
	case m.coded:
		return malformed("Transfer-Encoding is given twice")
	case m.Length != ToEnd:
		return malformed("Content-Length and Transfer-Encoding contradict each other")
	case !equalFold(v, "chunked"):
		return refuse(501, "of transfer codings only chunked is accepted")
	}
	m.coded, m.Length = true, Chunked
	return nil
}

// checkAnnounced refuses a framing field that is announced for the trailer,
// behind the body that it would frame.
func checkAnnounced(names []byte) error {
	var err error
	EachToken(names, func(name []byte) {
		switch kindOf(name) {
		case ContentLength, TransferEncoding, Trailer:
			err = malformed("Trailer announces %s, which cannot come behind a body", name)
		}
	})
	return err
}

// name keeps what Connection says.
func (m *Message) name(option []byte) {
	switch {
	case equalFold(option, "close"):
		m.Close = true
	case equalFold(option, "upgrade"):
		m.Upgrade = true
	case equalFold(option, "keep-alive"), len(m.named) == MaxFields:
	default:
		m.named = append(m.named, option)
	}
}

// markNamed makes the fields that Connection names end with it. Those by which
// the message is framed and found cannot be named away.
func (m *Message) markNamed() {
	for i := range m.Fields {
		f := &m.Fields[i]
		if f.Kind == Host || f.Kind == ContentLength || f.Kind.HopByHop() {
			continue
		}
		for _, name := range m.named {
			if bytes.EqualFold(f.Name, name) {
				f.Kind = Named
			}
		}
	}
}

// parseHost finds the host that the request is for, and brings its target into
// the form that servers take.
func (r *Request) parseHost() error {
	for _, f := range r.Fields {
		switch f.Kind {
		case Host:
			if r.Host != nil {
				return malformed("Host is given twice")
			}
			if !validHost(f.Value) {
				return malformed("Host is not a name or address, with a port or without")
			}
			r.Host = f.Value
		case Expect:
			if !equalFold(f.Value, "100-continue") {
				return refuse(417, "of expectations only 100-continue is met")
			}
			r.Expect = r.Minor > 0
		}
	}
	if r.Host == nil && r.Minor > 0 {
		return malformed("Host is missing")
	}
	if string(r.Method) == "CONNECT" {
		return refuse(501, "CONNECT asks for a tunnel, and this is no forward proxy")
	}
	if r.Target[0] != '/' && string(r.Target) != "*" {
		if err := r.parseAbsolute(); err != nil {
			return err
		}
	}
	if r.Target[0] == '*' && string(r.Method) != "OPTIONS" {
		return malformed("the target * is for OPTIONS only")
	}
	r.Path, _, _ = bytes.Cut(r.Target, []byte{'?'})
	return checkEscapes(r.Path)
}

// parseAbsolute takes scheme and authority off a target that has them, if they
// say what Host says.
func (r *Request) parseAbsolute() error {
	rest, ok := cutFold(r.Target, "http://")
	if !ok {
		rest, ok = cutFold(r.Target, "https://")
	}
	if !ok {
		return malformed("the target is neither a path nor an http URL")
	}
	end := bytes.IndexAny(rest, "/?")
	if end < 0 {
		end = len(rest)
	}
	if r.Host == nil || end == 0 || !bytes.EqualFold(rest[:end], r.Host) {
		return malformed("the target names another host than Host")
	}
	if r.Target = rest[end:]; len(r.Target) == 0 || r.Target[0] != '/' {
		r.Target = append([]byte{'/'}, r.Target...)
	}
	return nil
}

func cutFold(b []byte, prefix string) ([]byte, bool) {
	if len(b) < len(prefix) || !equalFold(b[:len(prefix)], prefix) {
		return nil, false
	}
	return b[len(prefix):], true
}

// validHost is a superset of names and addresses with a port (RFC 3986, section
// 3.2), without what could make it two hosts.
func validHost(host []byte) bool {
	name := host
	if i := bytes.LastIndexByte(host, ':'); i >= 0 && bytes.IndexByte(host[i:], ']') < 0 {
		name = host[:i]
		for _, c := range host[i+1:] {
			if !isDigit(c) {
				return false
			}
		}
	}
	for i, c := range name {
		if !inHost[c] || c == ':' && name[0] != '[' || c == '[' && i > 0 || c == ']' && i != len(name)-1 {
			return false
		}
	}
	return len(name) == 0 || (name[0] == '[') == (name[len(name)-1] == ']')
}

// checkEscapes refuses a path whose percent signs begin no escape.
func checkEscapes(path []byte) error {
	for i, c := range path {
		if c == '%' && (i+2 >= len(path) || hex(path[i+1]) < 0 || hex(path[i+2]) < 0) {
			return malformed("the path holds a percent sign that begins no %%XX escape")
		}
	}
	return nil
}

// ReadResponse reads the next answer's head. noBody says that the request was
// one to which answers have none (HEAD).
func (b *Reader) ReadResponse(r *Response, noBody bool) error {
	if err := b.readHead(); err != nil {
		return err
	}
	first := bytes.IndexByte(b.head, '\n')
	*r = Response{Message: Message{Fields: r.Fields[:0], named: r.named[:0]}}
	line := b.head[:first-1]
	if len(line) < len("HTTP/1.1 200") || line[8] != ' ' || len(line) > 12 && line[12] != ' ' {
		return malformed("the status line is not version, status and reason")
	}
	var err error
	if r.Minor, err = parseVersion(line[:8]); err != nil {
		return err
	}
	status, ok := parseLength(line[9:12])
	if !ok || status < 100 {
		return malformed("the status is not a number of three digits")
	}
	r.Status = int(status)
	if len(line) > 13 {
		r.Reason = line[13:]
	}
	for _, c := range r.Reason {
		if !inValue[c] {
			return malformed("the reason holds a control character")
		}
	}
	if err := r.parse(b.head[first+1:]); err != nil {
		return err
	}
	if noBody || status < 200 || status == 204 || status == 304 {
		r.Length = 0
	}
	if r.Length == ToEnd {
		r.Close = true
	}
	return nil
}

func isDigit(c byte) bool { return '0' <= c && c <= '9' }

func hex(c byte) int {
	switch {
	case isDigit(c):
		return int(c - '0')
	case 'a' <= c && c <= 'f':
		return int(c-'a') + 10
	case 'A' <= c && c <= 'F':
		return int(c-'A') + 10
	}
	return -1
}

// NewField returns a field that another parser has read.
func NewField(name, value []byte) Field { return Field{name, value, kindOf(name)} }

// AddField adds a field that another parser has read. Finish must follow the
// last one.
func (m *Message) AddField(name, value []byte) { m.Fields = append(m.Fields, NewField(name, value)) }

// Finish finds out what the fields added say about the connection.
func (r *Request) Finish() {
	for _, f := range r.Fields {
		switch f.Kind {
		case Connection:
			EachToken(f.Value, r.name)
		case Expect:
			r.Expect = equalFold(f.Value, "100-continue")
		}
	}
	r.markNamed()
}
