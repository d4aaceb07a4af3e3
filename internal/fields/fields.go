// Package fields has the checks of a configuration's fields. Each answers with
// the problems that it finds, none if all is well, so that a configuration's
// rules are one list of checks and are all told at once.
package fields

import (
	"cmp"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
)

// Problem says why a field cannot work.
type Problem struct {
	Field string
	Value string // quoted; "" for one that is not to be shown
	// Reason says what would be accepted. Other fields stand in it as
	// {GossipKeys}, for whoever shows it to name them.
	Reason string
}

// Check finds fault with a value that is not ok, for rules that no other check
// here knows.
func Check(ok bool, field string, value any, accepted string) []Problem {
	if ok {
		return nil
	}
	return []Problem{{field, strconv.Quote(fmt.Sprint(value)), accepted}}
}

// Hidden is Check for a value that a text cannot show, or must not.
func Hidden(ok bool, field, reason string) []Problem {
	if ok {
		return nil
	}
	return []Problem{{Field: field, Reason: reason}}
}

// By leaves the value to check, whose error says what would be accepted.
func By(field, value string, check func(value string) error) []Problem {
	if err := check(value); err != nil {
		return Check(false, field, value, err.Error())
	}
	return nil
}

// If drops the problems of a field that does not count as things are.
func If(counts bool, problems []Problem) []Problem {
	if !counts {
		return nil
	}
	return problems
}

// Each checks every element of a field that is a list.
func Each[T any](field string, list []T, check func(field string, element T) []Problem) (problems []Problem) {
	for _, element := range list {
		problems = append(problems, check(field, element)...)
	}
	return problems
}

// Either accepts two values.
func Either[T comparable](field string, value, one, other T) []Problem {
	return Check(value == one || value == other, field, value, fmt.Sprintf("must be %v or %v", one, other))
}

// Range accepts low and high, and what lies between.
func Range[T cmp.Ordered](field string, value, low, high T) []Problem {
	return Check(low <= value && value <= high, field, value, fmt.Sprintf("must be %v to %v", low, high))
}

// AtLeast accepts low, and what lies above.
func AtLeast[T cmp.Ordered](field string, value, low T) []Problem {
	return Check(value >= low, field, value, fmt.Sprintf("must be at least %v", low))
}

// NotNegative accepts zero, and what lies above.
func NotNegative[T ~int | ~int64](field string, value T) []Problem {
	return Check(value >= 0, field, value, "must not be negative")
}

// MaxBytes accepts a text of n bytes at most.
func MaxBytes(field, value string, n int) []Problem {
	return Check(len(value) <= n, field, value, fmt.Sprintf("must be %d bytes at most", n))
}

// AESKey accepts the lengths of keys that AES has. It shows no byte of the key.
func AESKey(field string, key []byte) []Problem {
	n := len(key)
	return Hidden(n == 16 || n == 24 || n == 32, field, fmt.Sprintf("a key has %d bytes, accepted are 16, 24 or 32", n))
}

// punctuation is what a token may have beside letters and digits.
const punctuation = "!#$%&'*+-.^_`|~"

// Token accepts what [IsToken] does. The kind says whose name it is, such as
// "header".
func Token(field, value, kind string) []Problem {
	return Check(IsToken(value), field, value, "must be a "+kind+" name: letters, digits and "+punctuation)
}

// IsToken says whether s is one in the sense of RFC 9110, section 5.6.2, as the
// names of headers and of cookies are.
func IsToken(s string) bool {
	for _, c := range []byte(s) {
		if !('a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || strings.IndexByte(punctuation, c) >= 0) {
			return false
		}
	}
	return s != ""
}

// maxHost is how long the name of a host can be in DNS.
const maxHost = 253

// Host accepts the name or the IP address of a host, and that none is given.
func Host(field, value string) []Problem {
	return Check(len(value) <= maxHost && !strings.ContainsAny(value, " /[]"), field, value, "must be a host name or an IP address, without a port")
}

// Address accepts host:port, where the host may be missing and the port may be
// the name of a service.
func Address(field, value string) []Problem {
	return By(field, value, func(address string) error {
		host, port, err := net.SplitHostPort(address)
		if err != nil {
			return errors.New("must be host:port, such as 127.0.0.1:8080")
		}
		if _, err := net.LookupPort("tcp", port); err != nil {
			return errors.New("the port must be 0 to 65535")
		}
		if len(host) > maxHost {
			return fmt.Errorf("the host must be %d bytes at most", maxHost)
		}
		return nil
	})
}

// IsLoopback says whether only this host can reach an address, host:port. It
// resolves no names but takes localhost at its word.
func IsLoopback(address string) bool {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return false
	}
	if host == "localhost" {
		return true
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.IsLoopback()
}
