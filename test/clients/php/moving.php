<?php
// A web application with logins, for PHP's own web server: its sessions are where
// session.save_path says.
$path = parse_url($_SERVER['REQUEST_URI'], PHP_URL_PATH);
session_start();
switch ($path) {
case '/login':
    session_regenerate_id(true);
    $_SESSION = ['user' => $_GET['user'], 'visits' => 0];
    break;
case '/visit':
    $_SESSION['visits'] = ($_SESSION['visits'] ?? 0) + 1;
    break;
case '/logout':
    session_destroy();
    $_SESSION = [];
    break;
}
echo ($_SESSION['user'] ?? '') . ' ' . ($_SESSION['visits'] ?? 0);
