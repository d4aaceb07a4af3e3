package main

import (
	"crypto/rand"
	"crypto/subtle"
	"errors"
	"fmt"
	"math/big"
	"time"
)

// visitor is what the application knows of one visitor.
type visitor struct {
	Code   code    `json:"code,omitzero"`  // asked for and not used yet
	User   string  `json:"user,omitempty"` // logged in as; "" for nobody
	Proof  string  `json:"proof,omitempty"`
	Visits []visit `json:"visits,omitempty"` // of the account page, the newest first
}

// code is a one-time password.
type code struct {
	Digits string    `json:"digits"`
	To     string    `json:"to"` // mail address
	By     string    `json:"by"` // server that made it
	Until  time.Time `json:"until"`
	Tries  int       `json:"tries"` // wrong ones so far
}

// visit is one look at the account page.
type visit struct {
	At     time.Time `json:"at"`
	Server string    `json:"server"`
}

const (
	codeLife   = 5 * time.Minute
	codeTries  = 5
	mostVisits = 8
)

var (
	errNoCode    = errors.New("no code is waiting")
	errWrongCode = errors.New("the code is wrong")
	errTooOften  = errors.New("the code was guessed at too often")
)

func newCode(to, by string, now time.Time) code {
	n, err := rand.Int(rand.Reader, big.NewInt(1_000_000))
	if err != nil {
		panic("otp: crypto/rand failed: " + err.Error()) // it does not
	}
	return code{Digits: fmt.Sprintf("%06d", n), To: to, By: by, Until: now.Add(codeLife)}
}

// enter logs the visitor in if digits are those of the code. A code is good
// for one login and for few guesses. A wrong guess changes the visitor too, so
// it is told in wrong and not as an error.
//
// The proof goes into a cookie of its own. The id that the visitor is pinned by
// is older than the login, and an attacker who may have planted it in the
// browser must not be logged in with the visitor.
func (v *visitor) enter(digits string, now time.Time) (wrong error) {
	c := v.Code
	if c.Digits == "" || now.After(c.Until) {
		return errNoCode
	}
	if c.Tries >= codeTries {
		return errTooOften
	}
	if subtle.ConstantTimeCompare([]byte(c.Digits), []byte(digits)) == 0 {
		v.Code.Tries++
		return errWrongCode
	}
	*v = visitor{User: c.To, Proof: rand.Text()}
	return nil
}

// loggedIn says whether the visitor has logged in with the browser that holds
// the proof.
func (v *visitor) loggedIn(proof string) bool {
	return v.User != "" && subtle.ConstantTimeCompare([]byte(v.Proof), []byte(proof)) == 1
}

// visited notes a look at the account. Others may be reading the old list.
func (v *visitor) visited(now time.Time, server string) {
	v.Visits = append([]visit{{now, server}}, v.Visits[:min(len(v.Visits), mostVisits-1)]...)
}
