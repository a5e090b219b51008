mod anything;
mod hostile;
mod lab;
mod life;
