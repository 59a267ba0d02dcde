// A lamp whose brightness breathes, a counter with a carry chain, and a small memory.
module top(input clk, input button, output lamp, output [3:0] bits);
  reg [19:0] count = 0;
  reg [7:0] level = 0;
  reg up = 1;
  reg [7:0] table_[0:15];
  reg [7:0] read;
  integer i;
  initial for (i = 0; i < 16; i = i + 1) table_[i] = i * i;
  always @(posedge clk) begin
    count <= count + 1;
    read <= table_[count[7:4]];
    if (button) table_[count[3:0]] <= level;
    if (count[7:0] == 0) begin
      if (up && level == 8'hff) up <= 0;
      else if (!up && level == 0) up <= 1;
      else level <= up ? level + 1 : level - 1;
    end
  end
  assign lamp = count[7:0] < level;
  assign bits = read[7:4] ^ count[19:16];
endmodule
