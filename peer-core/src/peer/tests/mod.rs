mod lab;
mod life;
