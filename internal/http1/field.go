package http1

import "bytes"

// Kind tells the fields apart that HTTP itself reads.
type Kind uint8

// The kinds of fields. Which of them end with their connection, HopByHop tells.
const (
	Other Kind = iota
	Host
	ContentLength
	TransferEncoding
	Connection
	Upgrade
	TE
	Trailer
	Hop // Keep-Alive, Proxy-Connection, Proxy-Authenticate, Proxy-Authorization
	Expect
	Cookie
	Named // by Connection: of one connection too
)

// HopByHop reports whether a field of this kind belongs to one connection, and
// ends with it (RFC 9110, section 7.6.1).
func (k Kind) HopByHop() bool {
	switch k {
	case Connection, TransferEncoding, Upgrade, TE, Trailer, Hop, Named:
		return true
	}
	return false
}

// Field is one field line. The value has no space around it.
type Field struct {
	Name, Value []byte
	Kind        Kind
}

// Is reports whether the field has this name, given in lower case.
func (f Field) Is(name string) bool { return equalFold(f.Name, name) }

// Get returns the value of the first field with this name, given in lower case.
func Get(fields []Field, name string) (value []byte, ok bool) {
	for _, f := range fields {
		if f.Is(name) {
			return f.Value, true
		}
	}
	return nil, false
}

// Lower writes a name in lower case into room, which bounds what is looked at:
// longer names are of no interest here.
func Lower(room, name []byte) []byte {
	n := min(len(room), len(name))
	for i, c := range name[:n] {
		if 'A' <= c && c <= 'Z' {
			c |= 0x20
		}
		room[i] = c
	}
	return room[:n]
}

func kindOf(name []byte) Kind {
	var room [20]byte
	if len(name) > len("proxy-authorization") {
		return Other
	}
	switch string(Lower(room[:], name)) {
	case "host":
		return Host
	case "content-length":
		return ContentLength
	case "transfer-encoding":
		return TransferEncoding
	case "connection":
		return Connection
	case "upgrade":
		return Upgrade
	case "te":
		return TE
	case "trailer":
		return Trailer
	case "keep-alive", "proxy-connection", "proxy-authenticate", "proxy-authorization":
		return Hop
	case "expect":
		return Expect
	case "cookie":
		return Cookie
	}
	return Other
}

// parseField takes one line apart.
func parseField(line []byte) (f Field, err error) {
	if line[0] == ' ' || line[0] == '\t' {
		return f, malformed("a field is folded over two lines")
	}
	colon := bytes.IndexByte(line, ':')
	if colon <= 0 || !isToken(line[:colon]) {
		return f, malformed("a field name has no colon, is empty, or holds a character that is not allowed there")
	}
	f.Name, f.Value = line[:colon], trim(line[colon+1:])
	for _, c := range f.Value {
		if !inValue[c] {
			return f, malformed("the value of %s holds a control character", f.Name)
		}
	}
	f.Kind = kindOf(f.Name)
	return f, nil
}

// parseFields takes all lines of a head or trailer apart, up to its empty line.
func parseFields(fields []Field, lines []byte) ([]Field, error) {
	for len(lines) > len("\r\n") {
		end := bytes.IndexByte(lines, '\n') // behind a CR: readHead has seen to that
		f, err := parseField(lines[:end-1])
		if err != nil {
			return fields, err
		}
		if len(fields) == MaxFields {
			return fields, refuse(431, "there are more than %d fields", MaxFields)
		}
		fields = append(fields, f)
		lines = lines[end+1:]
	}
	return fields, nil
}

// EachToken calls visit with each element of a comma-separated list.
func EachToken(list []byte, visit func([]byte)) {
	for len(list) > 0 {
		item, rest, _ := bytes.Cut(list, comma)
		if item = trim(item); len(item) > 0 {
			visit(item)
		}
		list = rest
	}
}

var comma = []byte{','}

// trim takes spaces and tabs off both ends, and nothing else: to
// bytes.TrimSpace more is space than to HTTP.
func trim(b []byte) []byte {
	for len(b) > 0 && (b[0] == ' ' || b[0] == '\t') {
		b = b[1:]
	}
	for len(b) > 0 && (b[len(b)-1] == ' ' || b[len(b)-1] == '\t') {
		b = b[:len(b)-1]
	}
	return b
}

// lineEnd returns the length of the first line, its end included, or -1 if it
// is not all there. A line ends in CR LF; one that ends in LF alone is a
// request's end to some and a part of a value to others.
func lineEnd(b []byte) (int, error) {
	i := bytes.IndexByte(b, '\n')
	if i < 0 {
		return -1, nil
	}
	if i == 0 || b[i-1] != '\r' {
		return 0, malformed("a line ends in LF without CR")
	}
	return i + 1, nil
}

func equalFold(b []byte, lower string) bool {
	if len(b) != len(lower) {
		return false
	}
	for i, c := range b {
		if 'A' <= c && c <= 'Z' {
			c |= 0x20
		}
		if c != lower[i] {
			return false
		}
	}
	return true
}

func isToken(b []byte) bool {
	for _, c := range b {
		if !tokens[c] {
			return false
		}
	}
	return len(b) > 0
}

// The characters of a token (RFC 9110, section 5.6.2), of a field value
// (section 5.5), and of a target as we take it: visible, and no '#', which
// begins what is never sent. Bytes over 0x7f have no meaning here and are
// passed on.
var tokens, inValue, inTarget, inHost = func() (token, value, target, host [256]bool) {
	for c := range 256 {
		b := byte(c)
		alphanumeric := '0' <= b && b <= '9' || 'a' <= b && b <= 'z' || 'A' <= b && b <= 'Z'
		token[c] = alphanumeric || bytes.IndexByte([]byte("!#$%&'*+-.^_`|~"), b) >= 0
		value[c] = b >= ' ' && b != 0x7f || b == '\t'
		target[c] = b > ' ' && b != 0x7f && b != '#'
		host[c] = alphanumeric || bytes.IndexByte([]byte("-._~!$&'()*+;=%[]:"), b) >= 0
	}
	return token, value, target, host
}()
