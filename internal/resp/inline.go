package resp

import (
	"bytes"
	"strings"
)

// inline reads a command that was typed: words on one line, quoted as in Redis.
func (r *Reader) inline() (whole bool, err error) {
	rest := r.buf[r.start:r.end]
	i := bytes.IndexByte(rest[r.scanned:], '\n')
	if i < 0 {
		if r.scanned = len(rest); r.scanned > maxLine {
			return false, errLongInline
		}
		return false, nil
	}
	i += r.scanned
	if i > maxLine {
		return false, errLongInline
	}
	r.pos = i + 1
	line := bytes.TrimSuffix(rest[:i], []byte{'\r'})
	if speaksHTTP(line) {
		return false, ErrHTTP
	}
	if r.limits.anonymous && len(bytes.TrimSpace(line)) > 0 {
		return false, errInlineAnonymous
	}
	if !r.words(line) {
		return false, errQuotes
	}
	return true, nil
}

// speaksHTTP reports whether a line begins as a strange page can make a browser
// send it.
func speaksHTTP(line []byte) bool {
	word, _, _ := bytes.Cut(line, []byte{' '})
	return strings.EqualFold(string(word), "post") || strings.EqualFold(string(word), "host:")
}

// words splits a line into spans, and undoes the quoting in place: a word is
// never longer than it was written. It returns false if a quote is not closed,
// or is followed by anything but a space.
func (r *Reader) words(line []byte) bool {
	for i := 0; ; {
		for i < len(line) && isSpace(line[i]) {
			i++
		}
		if i == len(line) {
			return true
		}
		from, to := i, i
		for i < len(line) && !isSpace(line[i]) {
			if q := line[i]; q == '"' || q == '\'' {
				n, read := unquote(line[to:], line[i:])
				end := i + read
				if read == 0 || end < len(line) && !isSpace(line[end]) {
					return false
				}
				to, i = to+n, end
				break
			}
			line[to] = line[i]
			to, i = to+1, i+1
		}
		r.spans = append(r.spans, span{from, to})
	}
}

// unquote writes the quoted text at the beginning of src to dst, and returns
// how many bytes it has written and read; none if the quote is not closed.
func unquote(dst, src []byte) (written, read int) {
	quote := src[0]
	for i := 1; i < len(src); i++ {
		c := src[i]
		switch {
		case c == quote:
			return written, i + 1
		case c == '\\' && i+1 < len(src) && quote == '"':
			var n int
			c, n = unescape(src[i+1:])
			i += n
		case c == '\\' && i+1 < len(src) && src[i+1] == '\'':
			c = '\''
			i++
		}
		dst[written] = c
		written++
	}
	return 0, 0
}

// unescape returns the byte that the text after a backslash means, and how
// many bytes of it.
func unescape(s []byte) (c byte, n int) {
	if len(s) >= 3 && s[0] == 'x' {
		high, ok := unhex(s[1])
		low, ok2 := unhex(s[2])
		if ok && ok2 {
			return high<<4 | low, 3
		}
	}
	switch s[0] {
	case 'n':
		return '\n', 1
	case 'r':
		return '\r', 1
	case 't':
		return '\t', 1
	case 'b':
		return '\b', 1
	case 'a':
		return '\a', 1
	default:
		return s[0], 1
	}
}

func unhex(c byte) (byte, bool) {
	switch {
	case '0' <= c && c <= '9':
		return c - '0', true
	case 'a' <= c && c <= 'f':
		return c - 'a' + 10, true
	case 'A' <= c && c <= 'F':
		return c - 'A' + 10, true
	default:
		return 0, false
	}
}

// isSpace is C's, in the locale that Redis runs in.
func isSpace(c byte) bool { return c == ' ' || '\t' <= c && c <= '\r' }
