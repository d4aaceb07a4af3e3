// Package browser looks at Holdfast through a browser, as a user does. It is a
// module of its own, so that what drives the browser is in nobody's go.mod.
//
// What happens in one test: [startCluster] runs "holdfast dev" on ports of its
// own, [openPage] opens a page in headless Chromium with an empty profile, the
// test acts by the page's own buttons and waits until the page shows what it
// should, and at the end the page must have reported no error: none of a
// script, none of the content security policy.
//
// Where no Chromium is installed the tests are skipped, and say so; with
// REQUIRE_BROWSER=1 that is a failure. Pictures go to $BROWSER_OUT.
package browser
